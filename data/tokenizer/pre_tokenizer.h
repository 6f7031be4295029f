// Divides text into the pieces that a model then encodes one by one.
#ifndef WYVERN_DATA_TOKENIZER_PRE_TOKENIZER_H_
#define WYVERN_DATA_TOKENIZER_PRE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/json_part.h"
#include "data/tokenizer/pattern.h"

namespace wyvern {

// Pieces of a text, which lie in it in order.
class Pieces {
 public:
  struct Range {
    uint32_t begin, end;
  };

  // All of `text`, which must outlive this. `at_text_begin`: nothing of the document is before it.
  Pieces(absl::string_view text, bool at_text_begin);
  Pieces(const Pieces&) = delete;

  absl::string_view text() const { return text_; }
  const std::vector<Range>& ranges() const { return ranges_; }
  absl::string_view piece(size_t i) const {
    return text_.substr(ranges_[i].begin, ranges_[i].end - ranges_[i].begin);
  }

  // Calls divide(piece, add) for each piece; add(begin, end) adds a part of it. Empty parts count
  // for nothing.
  template <typename Divide>
  void DivideEach(const Divide& divide) {
    next_.clear();
    for (size_t i = 0; i < ranges_.size(); ++i) {
      const uint32_t base = ranges_[i].begin;
      divide(piece(i), [this, base](size_t begin, size_t end) {
        if (begin == end) return;
        next_.push_back({base + static_cast<uint32_t>(begin), base + static_cast<uint32_t>(end)});
      });
    }
    ranges_.swap(next_);
  }

  // Calls rewrite(piece, at_text_begin, &out), which appends what stands in the piece's place.
  template <typename Rewrite>
  void RewriteEach(const Rewrite& rewrite) {
    std::string out;
    out.reserve(text_.size() + text_.size() / 4);
    next_.clear();
    for (size_t i = 0; i < ranges_.size(); ++i) {
      const auto begin = static_cast<uint32_t>(out.size());
      rewrite(piece(i), at_text_begin_ && ranges_[i].begin == 0, &out);
      const auto end = static_cast<uint32_t>(out.size());
      if (begin < end) next_.push_back({begin, end});
    }
    // The piece that begins the document keeps the place 0, and no other one gets it.
    if (ranges_.empty() || ranges_[0].begin != 0) at_text_begin_ = false;
    ranges_.swap(next_);
    owned_.swap(out);
    text_ = owned_;
    CheckSize();
  }

 private:
  void CheckSize() const;

  absl::string_view text_;
  bool at_text_begin_;
  std::string owned_;  // the text, once it was rewritten
  std::vector<Range> ranges_, next_;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void Apply(Pieces* pieces) const = 0;
};

struct PreTokenization {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  // The last step writes every byte as a character, which `steps` leave out: a model for bytes
  // takes the pieces as they are.
  bool byte_level = false;
  bool needs_text_begin = false;  // a step looks whether a piece begins the document
};

// Makes that of the part "pre_tokenizer", which may be null. Errors name what is unknown or cannot
// be done.
absl::StatusOr<PreTokenization> MakePreTokenization(const JsonPart& part);

// Pieces are the matches of a pattern and what lies between them, as bytes.
PreTokenization SplitIntoBytes(Pattern pattern);

// Gives a byte_level one its last step.
void KeepBytesAsCharacters(PreTokenization* pre_tokenization);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_PRE_TOKENIZER_H_
