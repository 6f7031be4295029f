// Regular expressions that divide text: a backtracking machine over UTF-8.
//
// The libraries whose ids are to be met know Unicode 16.0; a machine of our own makes the same
// parts on every system. It does what these expressions need, and fast: runs of a class are one
// step, and a run that cannot give anything back is never shortened.
#ifndef WYVERN_DATA_TOKENIZER_PATTERN_H_
#define WYVERN_DATA_TOKENIZER_PATTERN_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/code_points.h"
#include "data/tokenizer/pattern_syntax.h"

namespace wyvern {

// Immutable once made, so any number of threads may use one.
class Pattern {
 public:
  // Errors: as ParsePattern; a repeated group that may match nothing; too large.
  static absl::StatusOr<Pattern> Compile(absl::string_view regex, PatternDialect dialect);
  // The pattern of a text that stands for itself.
  static Pattern Literal(absl::string_view text);

  // The end of the match that begins at `begin`, or npos. `text` must be valid UTF-8 (zero bytes
  // are allowed), `begin` at a character's beginning.
  size_t MatchAt(absl::string_view text, size_t begin) const;

  // No match has fewer characters.
  int min_characters() const { return min_characters_; }

  // Calls found(begin, end) for each match from left to right. An empty one that touches the match
  // before it does not count.
  template <typename Found>
  void FindAll(absl::string_view text, const Found& found) const {
    size_t at = 0, last_end = absl::string_view::npos;
    while (at <= text.size()) {
      const size_t end = MatchAt(text, at);
      if (end == absl::string_view::npos || (end == at && last_end == at)) {
        if (at == text.size()) return;
        at += static_cast<size_t>(CharacterLength(text[at]));
        continue;
      }
      found(at, end);
      at = last_end = end;
    }
  }

 private:
  friend class PatternCompiler;
  struct Instruction {
    enum class Kind : uint8_t {
      kSet,         // one character of tables[set]
      kRepeatSet,   // from min to max (-1: no end) of them
      kSplit,       // to the next one, or else to `target`
      kSplitLazy,   // to `target`, or else to the next one
      kJump,        // to `target`
      kAtomic,      // the program from the next one to its kAccept, then `target`
      kLookAhead,   // likewise
      kLookBehind,  // likewise, from `min` characters earlier
      kTextBegin,
      kTextEnd,
      kLineBegin,
      kLineEnd,
      kWordBoundary,  // of words of tables[set]
      kAccept,
    };
    Kind kind;
    bool negated = false;
    bool keeps_all = false;  // kRepeatSet: nothing is given back
    int32_t set = 0;
    int32_t min = 0, max = 0;
    int32_t target = 0;
  };

  size_t Run(absl::string_view text, int32_t pc, size_t at) const;

  int min_characters_ = 0;
  std::vector<Instruction> program_;
  std::vector<CodePointTable> tables_;
  std::vector<int32_t> starts_;  // of the alternatives
  // The alternatives that may match, in order, by the first byte.
  std::array<std::vector<int32_t>, 256> starts_of_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_PATTERN_H_
