#include "data/store/prepare.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/chat/load_chat_template.h"
#include "data/io/progress.h"
#include "data/store/made_from.h"
#include "data/store/pass_content.h"
#include "data/store/preparation.h"
#include "data/store/split_stores.h"
#include "data/tokenizer/tokenize.h"
#include "data/tokenizer/tokenizer.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// The documents of the text, tokenised.
class Text final : public SplitInput {
 public:
  Text(const PrepareOptions& options, const Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer) {}

  absl::Status Open() {
    if (is_chat() && chat_ == nullptr) {
      ASSIGN_OR_RETURN(ChatOptions chat, LoadChatTemplate(options_.source.chat_template));
      chat.train_on = options_.source.train_on;
      ASSIGN_OR_RETURN(chat_, ChatTemplate::Make(chat));
    }
    ASSIGN_OR_RETURN(source_, TextSource::Open(options_.source, LongDocumentsOf(tokenizer_)));
    return absl::OkStatus();
  }

  bool is_chat() const override { return options_.source.format == TextFormat::kChat; }
  bool can_be_read_again() const override { return source_->can_be_read_again(); }

  absl::StatusOr<int64_t> CountDocuments() override {
    RETURN_IF_ERROR(Begin());
    int64_t documents = 0;
    TextPiece piece;
    while (true) {
      ASSIGN_OR_RETURN(const bool found, source_->Next(&piece));
      if (!found) break;
      if (piece.ends_document) ++documents;
    }
    RETURN_IF_ERROR(content_.Check(source_->files(), source_->read_files()));
    return documents;
  }

  absl::Status Read(SplitStores* stores) override {
    RETURN_IF_ERROR(Begin());
    text_bytes_ = 0;
    ProgressLine progress("prepare", options_.progress);
    const auto start = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(Tokenize(
        source_.get(), tokenizer_, chat_.get(), options_.num_threads,
        [&](const TokenizedPiece& piece, int64_t file_bytes_read) {
          text_bytes_ += piece.text_bytes;
          RETURN_IF_ERROR(is_chat() ? stores->Append(piece.tokens, piece.learnt)
                                    : stores->Append(piece.tokens));
          if (piece.ends_document) {
            if (piece.needs_eos && tokenizer_.eos_id().has_value()) {
              RETURN_IF_ERROR(stores->Append({*tokenizer_.eos_id()}));
            }
            RETURN_IF_ERROR(stores->EndDocument(piece.source));
          }
          if (progress.Due()) {
            const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
            const auto tokens = static_cast<double>(stores->num_tokens());
            progress.Update(
                static_cast<double>(file_bytes_read), static_cast<double>(source_->file_bytes()),
                absl::StrFormat("%.1fM tokens, %.1f MB/s, %.2fM tokens/s", tokens / 1e6,
                                static_cast<double>(text_bytes_) / 1e6 / elapsed.count(),
                                tokens / 1e6 / elapsed.count()));
          }
          return absl::OkStatus();
        }));
    return content_.Check(source_->files(), source_->read_files());
  }

  const TextSource& source() const { return *source_; }
  int64_t text_bytes() const { return text_bytes_; }

 private:
  // Each pass after the first opens the text anew.
  absl::Status Begin() {
    if (has_begun_) RETURN_IF_ERROR(Open());
    has_begun_ = true;
    return absl::OkStatus();
  }

  const PrepareOptions& options_;
  const Tokenizer& tokenizer_;
  std::unique_ptr<ChatTemplate> chat_;  // of conversations
  std::unique_ptr<TextSource> source_;
  bool has_begun_ = false;
  PassContent content_;
  int64_t text_bytes_ = 0;
};

}  // namespace

absl::StatusOr<PrepareResult> PrepareStore(const PrepareOptions& options) {
  const SplitOptions split = {.output_dir = options.output_dir,
                              .val_fraction = options.val_fraction,
                              .val_documents = options.val_documents,
                              .seed = options.seed};
  RETURN_IF_ERROR(Validate(split));
  if (options.num_threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_threads: expected at least 0 (0: every core), got ", options.num_threads));
  }
  const bool is_chat = options.source.format == TextFormat::kChat;
  if (!is_chat && !options.source.chat_template.empty()) {
    return absl::InvalidArgumentError(
        "chat_template: has no effect on text; set the format to 'chat', or leave it out");
  }
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   LoadTokenizer(options.tokenizer, options.tokenizer_settings));
  Text text(options, *tokenizer);
  RETURN_IF_ERROR(text.Open());
  ASSIGN_OR_RETURN(const std::unique_ptr<SplitStores> stores, Split(split, *tokenizer, &text));
  if (stores->num_documents() == 0) {
    return absl::InvalidArgumentError(absl::StrCat("no text in ",
                                                   absl::StrJoin(options.source.paths, ", "),
                                                   ": the files are empty or blank"));
  }
  const TextSource& source = text.source();
  ASSIGN_OR_RETURN(const std::string description, DescribePreparation(options, *tokenizer, source));
  RETURN_IF_ERROR(stores->Complete(source.files(), description));
  RETURN_IF_ERROR(WritePrepared(options.output_dir, description, source.read_files()));
  RETURN_IF_ERROR(stores->Commit());

  PrepareResult result;
  result.train_path = stores->train_path();
  if (stores->has_val()) result.val_path = stores->val_path();
  result.train_documents = stores->train().num_documents();
  result.val_documents = stores->val().num_documents();
  result.train_tokens = stores->train().num_tokens();
  result.val_tokens = stores->val().num_tokens();
  result.text_bytes = text.text_bytes();
  result.notes = source.Notes();
  result.has_separator = !options.source.document_separator.empty();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.megabytes_per_second = static_cast<double>(result.text_bytes) / 1e6 / result.seconds;
  result.tokens_per_second =
      static_cast<double>(result.train_tokens + result.val_tokens) / result.seconds;
  return result;
}

std::string PrepareResult::ToString() const {
  std::string text =
      absl::StrFormat("%s: %d documents, %d tokens\n", train_path, train_documents, train_tokens);
  if (val_path.empty()) {
    absl::StrAppend(&text, "no held-out split");
    if (train_documents == 1) {
      absl::StrAppend(&text, ": the text is one document",
                      has_separator ? "" : "; set document_separator to divide it");
    }
    absl::StrAppend(&text, "\n");
  } else {
    absl::StrAppendFormat(&text, "%s: %d documents, %d tokens\n", val_path, val_documents,
                          val_tokens);
  }
  absl::StrAppendFormat(&text, "%.1f MB of text in %.1f s: %.1f MB/s, %.0f tokens/s\n",
                        static_cast<double>(text_bytes) / 1e6, seconds, megabytes_per_second,
                        tokens_per_second);
  for (const std::string& note : notes) absl::StrAppend(&text, "note: ", note, "\n");
  return text;
}

}  // namespace wyvern
