#include "data/text/separator.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"

namespace wyvern {

Separator::Separator(absl::string_view text) : text_(absl::StrReplaceAll(text, {{"\r\n", "\n"}})) {
  max_length_ = text_.size() + std::count(text_.begin(), text_.end(), '\n');
}

Separator::Match Separator::Find(absl::string_view text, size_t from) const {
  if (text_.empty()) return {};
  const absl::string_view first_line = absl::string_view(text_).substr(0, text_.find('\n'));
  // Searched first, as the standard library is fast at it.
  const absl::string_view anchor = first_line.empty() ? "\n" : first_line;
  for (size_t begin = text.find(anchor, from); begin != absl::string_view::npos;
       begin = text.find(anchor, begin + 1)) {
    const bool has_return = first_line.empty() && begin > from && text[begin - 1] == '\r';
    const size_t start = has_return ? begin - 1 : begin;
    const size_t length = MatchAt(text, start);
    if (length > 0) return {start, length};
  }
  return {};
}

// The length of the match that begins there; 0: none.
size_t Separator::MatchAt(absl::string_view text, size_t begin) const {
  size_t at = begin;
  for (const char c : text_) {
    if (c == '\n' && at < text.size() && text[at] == '\r') ++at;
    if (at == text.size() || text[at] != c) return 0;
    ++at;
  }
  return at - begin;
}

}  // namespace wyvern
