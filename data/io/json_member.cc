#include "data/io/json_member.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/utf8.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

// For a message: names and the parser's reasons may be as long as the text.
std::string Short(absl::string_view text) {
  constexpr size_t kMostBytes = 160;
  if (text.size() <= kMostBytes) return std::string(text);
  text = text.substr(0, kMostBytes);
  return absl::StrCat(text.substr(0, Utf8PrefixLength(text)), "...");
}

// Takes what the parser finds, and keeps the member alone.
class MemberFinder final : public nlohmann::json_sax<Json> {
 public:
  explicit MemberFinder(const std::string& name) : name_(name) {}

  bool null() override { return Value("null"); }
  bool boolean(bool) override { return Value("boolean"); }
  bool number_integer(number_integer_t) override { return Value("number"); }
  bool number_unsigned(number_unsigned_t) override { return Value("number"); }
  bool number_float(number_float_t, const string_t&) override { return Value("number"); }
  bool binary(binary_t&) override { return Value("binary"); }
  bool string(string_t& value) override {
    if (IsWanted()) text_ = std::move(value);
    return Value("string");
  }
  bool key(string_t& name) override {
    if (depth_ != 1) return true;
    is_member_ = name == name_;
    if (num_names_++ < kNamesShown) {
      absl::StrAppend(&names_, names_.empty() ? "" : ", ", Short(name));
    }
    return true;
  }
  bool start_object(size_t) override { return Open("object"); }
  bool start_array(size_t) override { return Open("array"); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool parse_error(size_t byte, const std::string&, const Json::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 9: ...", whose line is the
    // object's own; "[json.exception.out_of_range.406] number overflow ...".
    absl::string_view reason = error.what();
    const size_t column = reason.find("column ");
    const size_t end = reason.find(column == absl::string_view::npos ? "] " : ": ",
                                   column == absl::string_view::npos ? 0 : column);
    if (end != absl::string_view::npos) reason = reason.substr(end + 2);
    error_ = absl::StrCat("byte ", byte, ": this is not JSON (", Short(reason), ")");
    return false;
  }

  // Once parsed.
  absl::StatusOr<std::string> Take(absl::string_view origin) && {
    std::string fault = error_;
    if (fault.empty() && top_type_ != "object") {
      fault = absl::StrCat("expected a JSON object, got ", top_type_);
    } else if (fault.empty() && type_.empty()) {
      if (num_names_ > kNamesShown) absl::StrAppend(&names_, " and more");
      fault = absl::StrCat("no member '", name_, "'; there is: ", names_,
                           "; name the one with the text by 'field', or read the file as it is by "
                           "the format 'text'");
    } else if (fault.empty() && type_ != "string") {
      fault = absl::StrCat("the member '", name_, "' must be a string, but is ", type_);
    }
    if (fault.empty()) return std::move(text_);
    return absl::InvalidArgumentError(absl::StrCat(origin, ": ", fault));
  }

 private:
  static constexpr int kNamesShown = 30;

  bool IsWanted() const { return depth_ == 1 && top_type_ == "object" && is_member_; }
  bool Value(const char* type) {
    if (depth_ == 0) top_type_ = type;
    if (IsWanted()) type_ = type;
    return true;
  }
  bool Open(const char* type) {
    Value(type);
    ++depth_;
    return true;
  }
  bool Close() {
    --depth_;
    return true;
  }

  const std::string& name_;
  int64_t depth_ = 0;
  int num_names_ = 0;
  bool is_member_ = false;  // the value that comes next, at depth 1
  std::string names_, top_type_, type_, text_, error_;
};

// The code of the escape \uXXXX at the front of `text`, or -1.
int64_t EscapedUnit(absl::string_view text) {
  if (text.size() < 6 || !absl::StartsWith(text, "\\u")) return -1;
  int64_t code = 0;
  for (const char digit : text.substr(2, 4)) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return -1;
    code = code * 16 + (absl::ascii_isdigit(static_cast<unsigned char>(digit))
                            ? digit - '0'
                            : absl::ascii_tolower(static_cast<unsigned char>(digit)) - 'a' + 10);
  }
  return code;
}

}  // namespace

absl::StatusOr<std::string> ReadJsonMember(absl::string_view json, const std::string& name,
                                           absl::string_view origin) {
  MemberFinder finder(name);
  Json::sax_parse(json.begin(), json.end(), &finder);
  return std::move(finder).Take(origin);
}

int64_t ReplaceLoneSurrogates(std::string* json) {
  int64_t replaced = 0;
  for (size_t i = 0; i < json->size();) {
    if ((*json)[i] != '\\') {
      ++i;
      continue;
    }
    const absl::string_view rest = absl::string_view(*json).substr(i);
    const int64_t code = EscapedUnit(rest);
    if (code < 0xD800 || code > 0xDFFF) {
      i += 2;  // with the character that is escaped, which may be a backslash
      continue;
    }
    const int64_t next = EscapedUnit(rest.substr(6));
    if (code < 0xDC00 && next >= 0xDC00 && next <= 0xDFFF) {
      i += 12;
      continue;
    }
    json->replace(i, 6, "\\uFFFD");
    ++replaced;
    i += 6;
  }
  return replaced;
}

}  // namespace wyvern
