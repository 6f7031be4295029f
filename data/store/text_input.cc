#include "data/store/text_input.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/chat/load_chat_template.h"
#include "data/io/progress.h"
#include "data/tokenizer/end_of_turn.h"
#include "kernels/runtime/status.h"

namespace wyvern {

TextInput::TextInput(const PrepareOptions& options, const Tokenizer& tokenizer,
                     const TextParts* parts)
    : options_(options), tokenizer_(tokenizer), parts_(parts) {}

absl::Status TextInput::Open() {
  if (is_chat() && chat_ == nullptr) {
    ASSIGN_OR_RETURN(ChatOptions chat,
                     LoadChatTemplate(options_.source.chat_template, options_.tokenizer));
    chat.train_on = options_.source.train_on;
    has_template_ = !chat.source.empty();
    ASSIGN_OR_RETURN(chat_, ChatTemplate::Make(chat));
  }
  const LongDocuments long_documents = LongDocumentsOf(tokenizer_);
  if (parts_ == nullptr) {
    ASSIGN_OR_RETURN(source_, TextSource::Open(options_.source, long_documents));
  } else {
    ASSIGN_OR_RETURN(source_,
                     TextSource::OpenParts(options_.source, long_documents, parts_->parts));
  }
  return absl::OkStatus();
}

absl::Status TextInput::Begin() {
  if (has_begun_) RETURN_IF_ERROR(Open());
  has_begun_ = true;
  text_bytes_ = 0;
  records_.assign(source_->files().size(), {});
  first_errors_.clear();
  return absl::OkStatus();
}

absl::Status TextInput::EachPiece(
    const std::function<absl::Status(const TokenizedPiece&, int64_t)>& consume) {
  return Tokenize(source_.get(), tokenizer_, chat_.get(), options_.source.on_error,
                  options_.num_threads, [&](const TokenizedPiece& piece, int64_t file_bytes_read) {
                    Records& records = records_[static_cast<size_t>(piece.source)];
                    if (piece.damage.ok()) {
                      ++records.good;
                      return consume(piece, file_bytes_read);
                    }
                    const std::string error(piece.damage.message());
                    if (records.damaged++ == 0) records.first_error = error;
                    if (first_errors_.size() < DocumentReader::kErrorsKept) {
                      first_errors_.push_back(error);
                    }
                    return absl::OkStatus();
                  });
}

absl::Status TextInput::End() {
  for (size_t i = 0; i < records_.size(); ++i) {
    if (records_[i].good > 0 || records_[i].damaged == 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(source_->files()[i], ": each of the ", records_[i].damaged,
                     " conversations is damaged, so none is left to read; the first: ",
                     records_[i].first_error));
  }
  return content_.Check(source_->files(), source_->read_files());
}

absl::StatusOr<int64_t> TextInput::CountDocuments() {
  RETURN_IF_ERROR(Begin());
  int64_t documents = 0;
  if (is_chat()) {  // the template decides which are left out
    RETURN_IF_ERROR(EachPiece([&](const TokenizedPiece&, int64_t) {
      ++documents;
      return absl::OkStatus();
    }));
  } else {
    TextPiece piece;
    while (true) {
      ASSIGN_OR_RETURN(const bool found, source_->Next(&piece));
      if (!found) break;
      if (piece.ends_document) ++documents;
    }
  }
  RETURN_IF_ERROR(End());
  return documents;
}

absl::Status TextInput::AppendBos(const TokenizedPiece& piece, SplitStores* stores) const {
  const int32_t bos = *tokenizer_.bos_id();
  if (!piece.tokens.empty() && piece.tokens.front() == bos) return absl::OkStatus();
  return is_chat() ? stores->Append({bos}, {0}) : stores->Append({bos});
}

absl::Status TextInput::Read(SplitStores* stores) {
  RETURN_IF_ERROR(Begin());
  ProgressLine progress("prepare", options_.progress);
  const auto start = std::chrono::steady_clock::now();
  bool begins_document = true;
  RETURN_IF_ERROR(EachPiece([&](const TokenizedPiece& piece, int64_t file_bytes_read) {
    text_bytes_ += piece.text_bytes;
    if (parts_ != nullptr) stores->SetKey(parts_->key(piece.source, piece.position));
    if (begins_document && options_.source.add_bos) {
      RETURN_IF_ERROR(AppendBos(piece, stores));
    }
    begins_document = piece.ends_document;
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
      progress.Update(static_cast<double>(file_bytes_read),
                      static_cast<double>(source_->file_bytes()),
                      absl::StrFormat("%.1fM tokens, %.1f MB/s, %.2fM tokens/s", tokens / 1e6,
                                      static_cast<double>(text_bytes_) / 1e6 / elapsed.count(),
                                      tokens / 1e6 / elapsed.count()));
    }
    return absl::OkStatus();
  }));
  return End();
}

int64_t TextInput::damaged_records() const {
  int64_t damaged = source_->damaged_records();
  for (const Records& records : records_) damaged += records.damaged;
  return damaged;
}

std::vector<std::string> TextInput::Notes() const {
  std::vector<std::string> notes = source_->Notes();
  const int64_t damaged = damaged_records() - source_->damaged_records();
  if (damaged > 0) {
    notes.push_back(absl::StrCat(
        damaged, damaged == 1 ? " damaged conversation was" : " damaged conversations were",
        " left out: ", absl::StrJoin(first_errors_, "\n  "),
        damaged > static_cast<int64_t>(first_errors_.size()) ? "\n  and more" : ""));
  }
  if (has_template_ && parts_ == nullptr) {
    const EndOfTurn end = FindEndOfTurn(*chat_, tokenizer_);
    notes.push_back(end.text.empty() ? "the chat template writes nothing behind a turn, so that a "
                                       "model does not learn where its turn ends"
                                     : absl::StrCat("a turn ends with ", end.ToString()));
  }
  return notes;
}

}  // namespace wyvern
