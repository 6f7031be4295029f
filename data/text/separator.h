// The separator between two documents of a text file.
#ifndef WYVERN_DATA_TEXT_SEPARATOR_H_
#define WYVERN_DATA_TEXT_SEPARATOR_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

// A newline of the separator stands for "\n" and for "\r\n", so that it is found in the files of
// every system.
class Separator {
 public:
  explicit Separator(absl::string_view text);

  bool empty() const { return text_.empty(); }
  // The length of the longest match, in bytes.
  size_t max_length() const { return max_length_; }

  struct Match {
    size_t begin = absl::string_view::npos;  // npos: there is none
    size_t length = 0;
  };
  // The first match that begins at `from` or behind; one that `text` holds only the beginning of is
  // none. Never for an empty separator.
  Match Find(absl::string_view text, size_t from) const;

 private:
  size_t MatchAt(absl::string_view text, size_t begin) const;

  std::string text_;  // with "\n" for every line's end
  size_t max_length_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_SEPARATOR_H_
