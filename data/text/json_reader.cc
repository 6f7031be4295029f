#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/io/json_member.h"
#include "data/io/read_buffer.h"
#include "data/io/utf8.h"
#include "data/text/document_reader.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// A JSON value's type, with its article, from its first character.
absl::string_view JsonTypeOf(absl::string_view value) {
  switch (value[0]) {
    case '{':
      return "an object";
    case '[':
      return "an array";
    case '"':
      return "a string";
    case 't':
    case 'f':
      return "a truth value";
    case 'n':
      return "null";
    default:
      return "a number";
  }
}

absl::StatusOr<std::string> ReadJsonString(absl::string_view json, const std::string& origin) {
  ASSIGN_OR_RETURN(const nlohmann::json value, ParseJson(json, origin));
  return value.get<std::string>();
}

// Documents of JSON objects, which stand on lines of their own or in one array. An array of strings
// alone is read too (kTextField).
class JsonReader final : public DocumentReader {
 public:
  JsonReader(std::string path, ReadBuffer buffer, const DocumentOptions& options, ContentKind kind)
      : DocumentReader(options.on_error),
        path_(std::move(path)),
        buffer_(std::move(buffer)),
        field_(options.field),
        is_chat_(options.format == TextFormat::kChat),
        replace_(options.invalid_utf8 == InvalidUtf8::kReplace),
        kind_(kind) {}

  absl::StatusOr<bool> Next(std::string* text, bool* ends_document) override {
    *ends_document = true;
    while (true) {
      ASSIGN_OR_RETURN(const bool found,
                       kind_ == ContentKind::kJsonLines ? FindLine() : FindElement());
      if (!found && left_out() > 0 && !has_good_) return AllDamaged();
      if (!found) return false;
      line_ = buffer_.line();
      position_ = buffer_.offset();
      const int64_t faults_before = replaced_faults_;
      const absl::Status parsed = Parse(buffer_.text().substr(0, value_bytes_), text);
      buffer_.Consume(value_bytes_);
      if (!parsed.ok()) {
        replaced_faults_ = faults_before;
        RETURN_IF_ERROR(LeaveOut(parsed));
        continue;
      }
      has_good_ = true;
      if (!IsBlank(*text)) return true;
    }
  }
  ContentKind kind() const override { return kind_; }
  int64_t line() const override { return line_; }
  int64_t position() const override { return position_; }
  const ByteStream& stream() const override { return buffer_.stream(); }

 private:
  // Each of these brings the next value to the front of the buffer, value_bytes_ long, or finds
  // the end.
  absl::StatusOr<bool> FindLine() {
    size_t searched = 0;
    while (true) {
      const absl::string_view unread = buffer_.text();
      const size_t end = unread.find('\n', searched);
      if (end == absl::string_view::npos && !buffer_.at_end()) {
        searched = unread.size();
        if (searched > kMaxDocumentBytes) return TooLong("line");
        RETURN_IF_ERROR(buffer_.Fill());
        continue;
      }
      value_bytes_ = std::min(end, unread.size());
      if (value_bytes_ > kMaxDocumentBytes) return TooLong("line");
      if (!IsBlank(unread.substr(0, value_bytes_))) return true;
      if (end == absl::string_view::npos) return false;
      buffer_.Consume(value_bytes_ + 1);
      searched = 0;
    }
  }

  absl::StatusOr<bool> FindElement() {
    ASSIGN_OR_RETURN(int next, SkipSpace());
    if (!inside_array_) {
      if (next == kEnd) return false;
      if (ended_array_ || next != '[') return Fault("there is more behind the array's end");
      buffer_.Consume(1);
      inside_array_ = true;
      ASSIGN_OR_RETURN(next, SkipSpace());
    } else if (next == ',') {
      buffer_.Consume(1);
      ASSIGN_OR_RETURN(next, SkipSpace());
      if (next == ']') return Fault("an element of the array is missing");
    } else if (next != ']' && next != kEnd) {
      return Fault("expected ',' or ']' behind an element of the array");
    }
    if (next == ']') {
      buffer_.Consume(1);
      inside_array_ = false;
      ended_array_ = true;
      return FindElement();
    }
    if (next == kEnd) return Fault("the file ends within the array");
    if (next == ',' || next == '}') return Fault("an element of the array is missing");
    JsonValueScanner scanner;
    while ((value_bytes_ = scanner.Scan(buffer_.text())) == absl::string_view::npos) {
      if (buffer_.text().size() > kMaxDocumentBytes) return TooLong("element");
      if (buffer_.at_end()) return Fault("the file ends within the array");
      RETURN_IF_ERROR(buffer_.Fill());
    }
    ++element_;
    return true;
  }

  // The first character that is no space, or kEnd.
  static constexpr int kEnd = -1;
  absl::StatusOr<int> SkipSpace() {
    while (true) {
      const size_t begin = buffer_.text().find_first_not_of(" \t\r\n");
      if (begin != absl::string_view::npos) {
        buffer_.Consume(begin);
        return static_cast<unsigned char>(buffer_.text()[0]);
      }
      buffer_.Consume(buffer_.text().size());
      if (buffer_.at_end()) return kEnd;
      RETURN_IF_ERROR(buffer_.Fill());
    }
  }

  absl::Status Fault(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ":", buffer_.line(), ": ", what));
  }
  absl::Status AllDamaged() const {
    return absl::InvalidArgumentError(absl::StrCat(
        path_, ": each of the ", left_out(),
        " records is damaged, so none is left to read; the first: ", first_errors().front()));
  }
  absl::Status TooLong(const std::string& what) const {
    return Fault(absl::StrCat("the ", what, " is longer than ", kMaxDocumentBytes >> 20,
                              " MiB, the most that is read of one document"));
  }

  // The kind of an array's elements is that of the first good one.
  absl::Status CheckElement(absl::string_view value) {
    const bool may_be_strings = !is_chat_ && field_ == kTextField;
    const auto fault = [&](absl::string_view wanted) {
      return Fault(absl::StrCat("element ", element_, " of the array is ", JsonTypeOf(value),
                                "; expected an array of ", wanted));
    };
    if (first_of_array_ == '\0' && (value[0] == '{' || (may_be_strings && value[0] == '"'))) {
      first_of_array_ = value[0];
    }
    if (first_of_array_ == value[0]) return absl::OkStatus();
    if (first_of_array_ == '\0') {
      return fault(may_be_strings ? "objects or of strings" : "objects");
    }
    return fault(first_of_array_ == '{' ? "objects alone, as the first one is"
                                        : "strings alone, as the first one is");
  }

  absl::Status Parse(absl::string_view value, std::string* text) {
    if (kind_ == ContentKind::kJsonArray) RETURN_IF_ERROR(CheckElement(value));
    std::string mended;
    const size_t good = Utf8PrefixLength(value);
    if (good < value.size()) {
      if (!replace_) return Utf8FaultIn(path_, buffer_, good);
      mended.assign(value.data(), value.size());
      replaced_faults_ += ReplaceUtf8Faults(&mended);
      value = mended;
    }
    if (is_chat_) {
      text->assign(value.data(), value.size());
      return absl::OkStatus();
    }
    const std::string origin = absl::StrCat(path_, ":", buffer_.line());
    const auto read = [&](absl::string_view json) {
      const bool is_string = kind_ == ContentKind::kJsonArray && value[0] == '"';
      return is_string ? ReadJsonString(json, origin) : ReadJsonMember(json, field_, origin);
    };
    absl::StatusOr<std::string> member = read(value);
    if (!member.ok() && replace_) {
      std::string whole(value.data(), value.size());
      replaced_faults_ += ReplaceLoneSurrogates(&whole);
      member = read(whole);
    }
    RETURN_IF_ERROR(member.status());
    *text = *std::move(member);
    return absl::OkStatus();
  }

  const std::string path_;
  ReadBuffer buffer_;
  const std::string field_;
  const bool is_chat_;
  const bool replace_;
  const ContentKind kind_;
  size_t value_bytes_ = 0;
  int64_t line_ = 0, position_ = 0;
  int64_t element_ = 0;         // of the array, from 1
  char first_of_array_ = '\0';  // with which each element begins: { or "
  bool inside_array_ = false, ended_array_ = false;
  bool has_good_ = false;  // a record that is not damaged
};

}  // namespace

std::unique_ptr<DocumentReader> MakeJsonReader(const std::string& path, ReadBuffer buffer,
                                               const DocumentOptions& options, ContentKind kind) {
  return std::make_unique<JsonReader>(path, std::move(buffer), options, kind);
}

}  // namespace wyvern
