#include "data/io/printable.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/utf8.h"

namespace wyvern {
namespace {

constexpr size_t kShownEnd = kMaxPrintedLine / 4;

// The bytes at the front of `text`, not empty, that are not to be shown as they are.
size_t HiddenBytes(absl::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x20 || first == 0x7F) return first == '\t' ? 0 : 1;
  if (first < 0x80) return 0;
  for (const size_t size : {2, 3, 4}) {
    const absl::string_view character = text.substr(0, size);
    if (character.size() < size || Utf8PrefixLength(character) < size) continue;
    const bool is_control = first == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    bool is_mark = character == kUtf8Bom;
    for (const absl::string_view mark : {"\u200E", "\u200F", "\u202A", "\u202B", "\u202C", "\u202D",
                                         "\u202E", "\u2066", "\u2067", "\u2068", "\u2069"}) {
      is_mark |= character == mark;
    }
    return is_control || is_mark ? size : 0;
  }
  return 1;
}

// The bytes of the character at the front.
size_t ShownBytes(absl::string_view text) {
  size_t size = 1;
  while (size < text.size() && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) ++size;
  return size;
}

void AppendLine(absl::string_view line, std::string* shown) {
  while (!line.empty()) {
    const size_t hidden = HiddenBytes(line);
    const size_t size = hidden > 0 ? hidden : ShownBytes(line);
    for (const char c : line.substr(0, hidden)) {
      absl::StrAppendFormat(shown, "\\x%02X", static_cast<unsigned char>(c));
    }
    if (hidden == 0) absl::StrAppend(shown, line.substr(0, size));
    line.remove_prefix(size);
  }
}

}  // namespace

std::string Printable(absl::string_view text) {
  std::string shown;
  while (true) {
    const size_t end = text.find('\n');
    const absl::string_view line = text.substr(0, end);
    if (line.size() <= kMaxPrintedLine) {
      AppendLine(line, &shown);
    } else {
      size_t begin = kMaxPrintedLine - kShownEnd, rest = line.size() - kShownEnd;
      // No character is cut.
      while (begin > 0 && (static_cast<unsigned char>(line[begin]) & 0xC0) == 0x80) --begin;
      while (rest < line.size() && (static_cast<unsigned char>(line[rest]) & 0xC0) == 0x80) ++rest;
      AppendLine(line.substr(0, begin), &shown);
      absl::StrAppend(&shown, " ... (", rest - begin, " bytes) ... ");
      AppendLine(line.substr(rest), &shown);
    }
    if (end == absl::string_view::npos) return shown;
    shown += '\n';
    text.remove_prefix(end + 1);
  }
}

}  // namespace wyvern
