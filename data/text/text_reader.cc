#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/read_buffer.h"
#include "data/io/utf8.h"
#include "data/text/document_reader.h"
#include "data/text/separator.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

// Where to cut a text longer than `limit` so that at most `limit` bytes precede: behind a line,
// else between two characters.
size_t CutPosition(absl::string_view text, size_t limit) {
  const size_t newline = text.rfind('\n', limit - 1);
  if (newline != absl::string_view::npos && newline >= limit / 2) return newline + 1;
  for (size_t tail = 1; tail < 4; ++tail) {
    if (IsCutCharacter(text.substr(limit - tail, tail))) return limit - tail;
  }
  return limit;
}

class TextReader final : public DocumentReader {
 public:
  TextReader(std::string path, ReadBuffer buffer, const DocumentOptions& options)
      : DocumentReader(options.on_error),
        path_(std::move(path)),
        buffer_(std::move(buffer)),
        separator_(options.document_separator),
        replace_(options.invalid_utf8 == InvalidUtf8::kReplace),
        in_pieces_(options.long_documents == LongDocuments::kInPieces) {}

  absl::StatusOr<bool> Next(std::string* text, bool* ends_document) override {
    const size_t limit = in_pieces_ ? kPieceBytes : kMaxDocumentBytes;
    size_t searched = 0;  // no separator begins before this
    while (true) {
      const absl::string_view unread = buffer_.text();
      if (!continued_) position_ = buffer_.offset();
      const Separator::Match separator = separator_.Find(unread, searched);
      const bool found = separator.begin != absl::string_view::npos;
      const size_t size = found ? separator.begin : unread.size();
      if (!found && !buffer_.at_end() && size <= limit + separator_.max_length()) {
        searched = size - std::min(size, separator_.max_length());
        RETURN_IF_ERROR(buffer_.Fill());
        continue;
      }
      if (size > limit && !in_pieces_) return TooLong();
      if (!found && !buffer_.at_end()) {
        RETURN_IF_ERROR(Take(CutPosition(unread, limit), text));
        *ends_document = false;
        continued_ = true;
        return true;
      }
      if (!found && size == 0 && !continued_) return false;
      const absl::Status taken = Take(size, text);
      if (!taken.ok()) {
        RETURN_IF_ERROR(LeaveOut(taken));
        buffer_.Consume(size);
        text->clear();
      }
      buffer_.Consume(separator.length);
      separators_ += found ? 1 : 0;
      *ends_document = true;
      if (std::exchange(continued_, false) || !IsBlank(*text)) return true;
      searched = 0;
    }
  }
  ContentKind kind() const override { return ContentKind::kText; }
  const ByteStream& stream() const override { return buffer_.stream(); }
  int64_t position() const override { return position_; }
  int64_t separators() const override { return separators_; }

 private:
  absl::Status Take(size_t count, std::string* text) {
    const absl::string_view taken = buffer_.text().substr(0, count);
    text->assign(taken.data(), taken.size());
    if (replace_) {
      replaced_faults_ += ReplaceUtf8Faults(text);
    } else {
      const size_t good = Utf8PrefixLength(taken);
      if (good < taken.size()) return Utf8FaultIn(path_, buffer_, good);
    }
    buffer_.Consume(count);
    return absl::OkStatus();
  }

  absl::Status TooLong() const {
    return absl::InvalidArgumentError(absl::StrCat(
        path_, ":", buffer_.line(), ": the document that begins here is longer than ",
        kMaxDocumentBytes >> 20, " MiB, the most that this tokenizer is given at once; divide it ",
        separator_.empty() ? "by document_separator" : "by another document_separator"));
  }

  const std::string path_;
  ReadBuffer buffer_;
  const Separator separator_;
  const bool replace_, in_pieces_;
  bool continued_ = false;  // a piece of the current document was handed out
  int64_t position_ = 0, separators_ = 0;
};

}  // namespace

std::unique_ptr<DocumentReader> MakeTextReader(const std::string& path, ReadBuffer buffer,
                                               const DocumentOptions& options) {
  return std::make_unique<TextReader>(path, std::move(buffer), options);
}

}  // namespace wyvern
