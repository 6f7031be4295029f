// The documents of text, tokenised, on their way into stores.
#ifndef WYVERN_DATA_STORE_TEXT_INPUT_H_
#define WYVERN_DATA_STORE_TEXT_INPUT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/chat/chat_template.h"
#include "data/store/pass_content.h"
#include "data/store/prepare.h"
#include "data/store/split_stores.h"
#include "data/text/text_source.h"
#include "data/tokenizer/tokenize.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// Parts of the files of a larger text, which is prepared part by part.
struct TextParts {
  std::vector<TextPart> parts;
  // The key of a document (SplitStores), by the index of its part and where in the file it begins.
  std::function<double(int32_t part, int64_t position)> key;
};

// Appends eos (if the tokenizer has one) to every document. With add_bos, puts bos before it, which
// is no target of a conversation's loss, unless its first token is bos.
class TextInput final : public SplitInput {
 public:
  // `options` and `tokenizer`, which has a bos if options.source.add_bos, outlive this. Without
  // `parts`, all of the text.
  TextInput(const PrepareOptions& options, const Tokenizer& tokenizer, const TextParts* parts);

  // Before all else.
  absl::Status Open();

  bool is_chat() const override { return options_.source.format == TextFormat::kChat; }
  bool can_be_read_again() const override { return source_->can_be_read_again(); }
  absl::StatusOr<int64_t> CountDocuments() override;
  absl::Status Read(SplitStores* stores) override;

  // These describe the last pass.
  const TextSource& source() const { return *source_; }
  int64_t text_bytes() const { return text_bytes_; }
  int64_t damaged_records() const;  // left out
  std::vector<std::string> Notes() const;

 private:
  // The records of a file that its conversations gave.
  struct Records {
    int64_t good = 0, damaged = 0;
    std::string first_error;
  };

  // Each pass after the first opens the text anew.
  absl::Status Begin();
  absl::Status EachPiece(
      const std::function<absl::Status(const TokenizedPiece&, int64_t file_bytes_read)>& consume);
  absl::Status End();
  // Unless the document, which begins with this piece, has it already.
  absl::Status AppendBos(const TokenizedPiece& piece, SplitStores* stores) const;

  const PrepareOptions& options_;
  const Tokenizer& tokenizer_;
  const TextParts* const parts_;
  std::unique_ptr<ChatTemplate> chat_;  // of conversations
  bool has_template_ = false;           // there may be none for prompts and completions
  std::unique_ptr<TextSource> source_;
  bool has_begun_ = false;
  PassContent content_;
  int64_t text_bytes_ = 0;
  std::vector<Records> records_;           // of each file, of conversations
  std::vector<std::string> first_errors_;  // of conversations that were left out
};

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_TEXT_INPUT_H_
