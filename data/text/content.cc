#include "data/text/content.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/codec.h"
#include "data/io/json.h"
#include "data/io/utf8.h"
#include "data/text/binary_kind.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

absl::string_view SkipSpace(absl::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == absl::string_view::npos ? absl::string_view() : text.substr(begin);
}

// The kind of JSON that a text begins with, as far as its first characters say.
enum class Opening { kOther, kObject, kArrayOfObjects };

Opening OpeningOf(absl::string_view text) {
  text = SkipSpace(text);
  const bool is_array = absl::ConsumePrefix(&text, "[");
  if (is_array) {
    text = SkipSpace(text);
    if (text == "]" || absl::StartsWith(text, "]\n") || absl::StartsWith(text, "]\r\n")) {
      return Opening::kArrayOfObjects;  // of none
    }
  }
  if (!absl::ConsumePrefix(&text, "{")) return Opening::kOther;
  text = SkipSpace(text);
  if (!text.empty() && text[0] != '"' && text[0] != '}') return Opening::kOther;
  return is_array ? Opening::kArrayOfObjects : Opening::kObject;
}

bool IsObject(absl::string_view text) {
  const absl::StatusOr<nlohmann::json> value = ParseJson(text, "");
  return value.ok() && value->is_object();
}

enum class LinesAre { kObjects, kObjectFirst, kOther };

// The lines of a head, whose last one may be cut. A line too long for the head is judged by
// its first characters.
LinesAre JudgeLines(absl::string_view head, bool is_whole) {
  int objects = 0;
  while (!head.empty()) {
    const size_t end = head.find('\n');
    const bool is_cut = end == absl::string_view::npos && !is_whole;
    const absl::string_view line = head.substr(0, end);
    head.remove_prefix(end == absl::string_view::npos ? head.size() : end + 1);
    if (SkipSpace(line).empty()) continue;
    if (is_cut) {
      if (objects == 0 && OpeningOf(line) == Opening::kObject) objects = 1;
      break;
    }
    if (!IsObject(line)) return objects > 0 ? LinesAre::kObjectFirst : LinesAre::kOther;
    ++objects;
  }
  return objects > 0 ? LinesAre::kObjects : LinesAre::kOther;
}

// An element too long for the head is judged by its first characters.
bool FirstElementIsObject(absl::string_view head, bool is_whole) {
  head = SkipSpace(head);
  if (!absl::ConsumePrefix(&head, "[")) return false;
  head = SkipSpace(head);
  JsonValueScanner scanner;
  const size_t end = head.empty() || head[0] != '{' ? absl::string_view::npos : scanner.Scan(head);
  if (end == absl::string_view::npos) return !is_whole && OpeningOf(head) == Opening::kObject;
  return IsObject(head.substr(0, end));
}

absl::Status SingleObject(const std::string& path) {
  return absl::InvalidArgumentError(absl::StrCat(
      path,
      ": one JSON object over several lines; expected an object a line or an array of objects "
      "(jq -c . makes lines of it); if it is to be read as text, say so by the format 'text'"));
}

// Whether a text of JSON is one array that is not of objects: of strings, or one that the reader is
// to judge. Arrays on lines of their own are not one.
bool IsOneArray(absl::string_view head) {
  head = SkipSpace(head);
  if (head.empty() || head[0] != '[') return false;
  JsonValueScanner scanner;
  const size_t end = scanner.Scan(head);
  return end == absl::string_view::npos || SkipSpace(head.substr(end)).empty();
}

// With every error of UTF-8 replaced, so that it does not decide what the text is: the reader
// judges it.
std::string Mended(absl::string_view head) {
  std::string text(head.data(), head.size());
  ReplaceUtf8Faults(&text);
  return text;
}

// Whether a head whose first line is no object seems to be JSON all the same: that line begins as
// an object does, {", or an array of them, or most of the lines behind it are objects.
bool SeemsJson(absl::string_view head, bool is_whole) {
  absl::string_view rest = SkipSpace(head);
  if (absl::ConsumePrefix(&rest, "[")) rest = SkipSpace(rest);
  if (absl::ConsumePrefix(&rest, "{") &&
      absl::StartsWith(rest.substr(std::min(rest.size(), rest.find_first_not_of(" \t"))), "\"")) {
    return true;
  }
  int objects = 0, others = 0;
  while (!head.empty()) {
    const size_t end = head.find('\n');
    if (end == absl::string_view::npos && !is_whole) break;
    const absl::string_view line = head.substr(0, end);
    head.remove_prefix(end == absl::string_view::npos ? head.size() : end + 1);
    if (SkipSpace(line).empty()) continue;
    ++(IsObject(line) ? objects : others);
  }
  return objects >= 2 && objects > others;
}

absl::Status BrokenJson(const std::string& path, absl::string_view head) {
  const size_t begin = head.size() - SkipSpace(head).size();
  const auto line = 1 + std::count(head.begin(), head.begin() + begin, '\n');
  const size_t line_begin = begin == 0 ? 0 : head.rfind('\n', begin - 1) + 1;  // npos + 1 is 0
  const std::string where = absl::StrCat(path, ":", line);
  const absl::Status fault =
      ParseJson(head.substr(line_begin, head.find('\n', begin) - line_begin), where).status();
  return absl::InvalidArgumentError(absl::StrCat(
      fault.ok() ? where + ": not an object" : std::string(fault.message()),
      "; this seems to be JSON and begins with a line that is none (NaN and Infinity, which Python "
      "writes, are none either): mend it, or say which format it is, 'text' or 'json'"));
}

absl::Status JsonOrText(const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(path,
                   ": the name says text and the first line is a JSON object, but others are not; "
                   "say which format it is, 'text' or 'json'"));
}

}  // namespace

bool IsParquetName(absl::string_view path) { return absl::EndsWithIgnoreCase(path, ".parquet"); }

NameHint HintOfName(absl::string_view path) {
  absl::string_view name = path.substr(path.rfind('/') + 1);
  ConsumeCompressionSuffix(&name);
  const auto hint_of = [](absl::string_view* rest) {
    const size_t dot = rest->rfind('.');
    if (dot == absl::string_view::npos) return NameHint::kNone;
    const std::string ending = absl::AsciiStrToLower(rest->substr(dot));
    *rest = rest->substr(0, dot);
    if (ending == ".txt" || ending == ".md") return NameHint::kText;
    const bool is_json = ending == ".jsonl" || ending == ".ndjson" || ending == ".json" ||
                         ending == ".jsonlines" || ending == ".jl";
    return is_json ? NameHint::kJson : NameHint::kNone;
  };
  const NameHint last = hint_of(&name), before = hint_of(&name);
  const bool disagree = before != NameHint::kNone && last != before;
  return disagree ? NameHint::kNone : last;
}

absl::StatusOr<ContentKind> KindOfContent(const std::string& path, absl::string_view bytes,
                                          bool is_whole, TextFormat format) {
  const std::string binary = BinaryKind(bytes);
  if (!binary.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": ", binary));
  if (format == TextFormat::kText) return ContentKind::kText;
  const std::string head = Mended(bytes);
  const Opening opening = OpeningOf(head);
  const bool is_array = opening == Opening::kArrayOfObjects;
  const NameHint hint = format == TextFormat::kJson || format == TextFormat::kChat
                            ? NameHint::kJson
                            : HintOfName(path);
  if (hint == NameHint::kText) {
    const LinesAre lines = JudgeLines(head, is_whole);
    if (lines == LinesAre::kObjects) return ContentKind::kJsonLines;
    if (lines == LinesAre::kObjectFirst) return JsonOrText(path);
    if (is_array && FirstElementIsObject(head, is_whole)) return ContentKind::kJsonArray;
    if (SeemsJson(head, is_whole)) return BrokenJson(path, head);
    return ContentKind::kText;
  }
  if (is_array) return ContentKind::kJsonArray;
  if (opening == Opening::kObject) {
    if (JudgeLines(head, is_whole) != LinesAre::kOther) return ContentKind::kJsonLines;
    if (IsSingleObject(head)) return SingleObject(path);
  }
  if (hint == NameHint::kJson) {
    return IsOneArray(head) ? ContentKind::kJsonArray : ContentKind::kJsonLines;
  }
  if (SeemsJson(head, is_whole)) return BrokenJson(path, head);
  return ContentKind::kText;
}

bool MayBeJsonLinesWith(absl::string_view bytes, bool is_whole, const std::string& field) {
  const std::string mended = Mended(bytes);
  const absl::string_view head = SkipSpace(mended);
  const size_t end = head.find('\n');
  if (end == absl::string_view::npos && !is_whole) return OpeningOf(head) == Opening::kObject;
  const absl::StatusOr<nlohmann::json> first = ParseJson(head.substr(0, end), "");
  if (!first.ok()) return SeemsJson(head, is_whole) && !IsSingleObject(head);
  return first->is_object() && first->contains(field) && (*first)[field].is_string();
}

bool IsSingleObject(absl::string_view head) {
  if (OpeningOf(head) != Opening::kObject) return false;
  head = SkipSpace(head);
  JsonValueScanner scanner;
  const size_t end = scanner.Scan(head);
  const size_t line = head.find('\n');
  // Its first line does not hold it, and it is not a broken line among others.
  if (line == absl::string_view::npos || (end != absl::string_view::npos && end <= line)) {
    return false;
  }
  const absl::string_view second = SkipSpace(head.substr(line));
  return OpeningOf(second) != Opening::kObject;
}

size_t JsonValueScanner::Scan(absl::string_view text) {
  for (; scanned_ < text.size(); ++scanned_) {
    const char c = text[scanned_];
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
        if (depth_ == 0) return scanned_ + 1;
      }
    } else if (depth_ == 0 && scanned_ > 0 && absl::StrContains(",]} \t\r\n", c)) {
      return scanned_;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if ((c == '}' || c == ']') && --depth_ == 0) {
      return scanned_ + 1;
    }
  }
  return absl::string_view::npos;
}

}  // namespace wyvern
