// Tokens that are looked for in a text before it is divided and merged, such as <|endoftext|>.
#ifndef WYVERN_DATA_TOKENIZER_ADDED_TOKENS_H_
#define WYVERN_DATA_TOKENIZER_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "data/tokenizer/code_points.h"

namespace wyvern {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only where no characters of words are beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = true;    // is looked for in the normalised text
  bool special = false;
};

// Finds tokens, the leftmost first, of those that begin there the longest.
class AddedTokenMatcher {
 public:
  // `tokens[i].content` is looked for as `spellings[i]`, which is not empty.
  AddedTokenMatcher(std::vector<AddedToken> tokens, const std::vector<std::string>& spellings);

  bool empty() const { return tokens_.empty(); }

  // Calls text_part(begin, end) for what lies between tokens and token(id) for each, in order.
  template <typename TextPart, typename Token>
  void Split(absl::string_view text, const TextPart& text_part, const Token& token) const {
    size_t done = 0;
    for (size_t from = 0; !tokens_.empty();) {
      const std::optional<Match> match = Next(text, from, done);
      if (!match.has_value()) break;
      if (done < match->begin) text_part(done, match->begin);
      token(match->id);
      done = match->end;
      from = match->searched;
    }
    if (done < text.size()) text_part(done, text.size());
  }

 private:
  struct Match {
    int32_t id;
    size_t begin, end;  // with the white space that it takes
    size_t searched;    // where the next one may begin
  };
  struct Node {
    std::map<unsigned char, int32_t> next;
    int32_t token = -1;  // index of the one that ends here
  };

  // The first match from `from` on. White space before `done` is another's.
  std::optional<Match> Next(absl::string_view text, size_t from, size_t done) const;
  // Index of the longest token at `at`, or -1.
  int32_t LongestAt(absl::string_view text, size_t at, size_t* end) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;  // a trie; [0] is its root
  std::array<bool, 256> begins_ = {};
  int only_begin_ = -1;  // the first byte of all, if there is just one
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_ADDED_TOKENS_H_
