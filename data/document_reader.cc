#include "data/document_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "data/byte_stream.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr size_t kReadBytes = size_t{1} << 18;
constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr size_t kMaxLineBytes = size_t{1} << 30;

bool IsBlank(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); });
}

// A stream with what was read of it but not yet used.
class Buffer {
 public:
  explicit Buffer(std::unique_ptr<ByteStream> stream) : stream_(std::move(stream)) {}

  absl::string_view text() const { return absl::string_view(bytes_).substr(begin_); }
  bool at_end() const { return at_end_; }
  int64_t file_bytes_read() const { return stream_->file_bytes_read(); }
  void Consume(size_t count) { begin_ += count; }

  // Reads some more, or finds the end.
  absl::Status Fill() {
    bytes_.erase(0, begin_);
    begin_ = 0;
    const size_t size = bytes_.size();
    bytes_.resize(size + kReadBytes);
    const absl::StatusOr<size_t> got = stream_->Read(bytes_.data() + size, kReadBytes);
    bytes_.resize(size + (got.ok() ? *got : 0));
    if (!got.ok()) return got.status();
    at_end_ = *got == 0;
    return absl::OkStatus();
  }

 private:
  std::unique_ptr<ByteStream> stream_;
  std::string bytes_;
  size_t begin_ = 0;
  bool at_end_ = false;
};

// Where to cut a text longer than `limit` so that at most `limit` bytes precede: behind white
// space, else between two UTF-8 characters.
size_t CutPosition(absl::string_view text, size_t limit) {
  for (size_t cut = limit; cut > limit / 2; --cut) {
    if (absl::ascii_isspace(static_cast<unsigned char>(text[cut - 1]))) return cut;
  }
  size_t cut = limit;
  while (cut > limit - 3 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return cut;
}

class TextReader final : public DocumentReader {
 public:
  TextReader(std::unique_ptr<ByteStream> stream, std::string separator)
      : buffer_(std::move(stream)), separator_(std::move(separator)) {}

  absl::StatusOr<bool> Next(std::string* text, bool* ends_document) override {
    size_t searched = 0;  // no separator begins before this
    while (true) {
      const absl::string_view unread = buffer_.text();
      const size_t end =
          separator_.empty() ? absl::string_view::npos : unread.find(separator_, searched);
      const bool found = end != absl::string_view::npos;
      if (!found && !buffer_.at_end()) {
        if (unread.size() <= kPieceBytes + separator_.size()) {
          searched = unread.size() - std::min(unread.size(), separator_.size());
          RETURN_IF_ERROR(buffer_.Fill());
          continue;
        }
        Take(CutPosition(unread, kPieceBytes), text);
        *ends_document = false;
        continued_ = true;
        return true;
      }
      if (!found && unread.empty() && !continued_) return false;
      Take(found ? end : unread.size(), text);
      if (found) buffer_.Consume(separator_.size());
      *ends_document = true;
      if (std::exchange(continued_, false) || !IsBlank(*text)) return true;
      searched = 0;
    }
  }
  int64_t file_bytes_read() const override { return buffer_.file_bytes_read(); }

 private:
  void Take(size_t count, std::string* text) {
    const absl::string_view taken = buffer_.text().substr(0, count);
    text->assign(taken.data(), taken.size());
    buffer_.Consume(count);
  }

  Buffer buffer_;
  const std::string separator_;
  bool continued_ = false;  // a piece of the current document was handed out
};

class JsonLinesReader final : public DocumentReader {
 public:
  JsonLinesReader(std::string path, std::unique_ptr<ByteStream> stream, std::string field)
      : path_(std::move(path)), buffer_(std::move(stream)), field_(std::move(field)) {}

  absl::StatusOr<bool> Next(std::string* text, bool* ends_document) override {
    *ends_document = true;
    size_t searched = 0;
    while (true) {
      const absl::string_view unread = buffer_.text();
      const size_t end = unread.find('\n', searched);
      if (end == absl::string_view::npos && !buffer_.at_end()) {
        searched = unread.size();
        if (searched > kMaxLineBytes) return Fault("the line is longer than 1 GiB");
        RETURN_IF_ERROR(buffer_.Fill());
        continue;
      }
      if (unread.empty()) return false;
      const absl::string_view line = unread.substr(0, end);
      if (!IsBlank(line)) RETURN_IF_ERROR(Parse(line, text));
      const bool has_text = !IsBlank(line) && !IsBlank(*text);
      buffer_.Consume(std::min(unread.size(), line.size() + 1));
      ++line_;
      searched = 0;
      if (has_text) return true;
    }
  }
  int64_t file_bytes_read() const override { return buffer_.file_bytes_read(); }

 private:
  absl::Status Fault(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ":", line_, ": ", what));
  }

  absl::Status Parse(absl::string_view line, std::string* text) const {
    try {
      const auto object = nlohmann::json::parse(line.begin(), line.end());
      if (!object.is_object()) {
        return Fault(absl::StrCat("expected a JSON object, got ", object.type_name()));
      }
      const auto member = object.find(field_);
      if (member == object.end()) {
        std::string names;
        for (const auto& item : object.items()) {
          absl::StrAppend(&names, names.empty() ? "" : ", ", item.key());
        }
        return Fault(absl::StrCat("no member '", field_, "'; there is: ", names));
      }
      if (!member->is_string()) {
        return Fault(absl::StrCat("the member '", field_, "' must be a string, but is ",
                                  member->type_name()));
      }
      *text = member->get<std::string>();
      return absl::OkStatus();
    } catch (const nlohmann::json::exception& exception) {
      // "[json.exception.parse_error.101] parse error at line 1, column 3: ..."
      const std::string reason = exception.what();
      const size_t column = reason.find("column");
      return Fault(absl::StrCat("invalid JSON: ",
                                column == std::string::npos ? reason : reason.substr(column)));
    }
  }

  const std::string path_;
  Buffer buffer_;
  const std::string field_;
  int64_t line_ = 1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenText(const std::string& path,
                                                         const std::string& separator) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream, ByteStream::Open(path));
  return std::make_unique<TextReader>(std::move(stream), separator);
}

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenJsonLines(const std::string& path,
                                                              const std::string& field) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream, ByteStream::Open(path));
  return std::make_unique<JsonLinesReader>(path, std::move(stream), field);
}

}  // namespace wyvern
