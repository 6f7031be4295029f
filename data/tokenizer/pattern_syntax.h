// The syntax of the regular expressions that divide text for tokenizers.
#ifndef WYVERN_DATA_TOKENIZER_PATTERN_SYNTAX_H_
#define WYVERN_DATA_TOKENIZER_PATTERN_SYNTAX_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/code_points.h"

namespace wyvern {

// Whose syntax an expression has. They differ in \w, ^ and $.
enum class PatternDialect {
  kOniguruma,   // tokenizer.json
  kFancyRegex,  // tiktoken
};

struct PatternNode {
  enum class Kind {
    kSet,           // one character of `set`
    kSequence,      // all children, in order
    kAlternatives,  // the first child that leads to a match
    kRepeat,        // the one child, min to max times
    kAtomic,        // the one child, of which only the first match counts
    kLookAhead,     // the one child matches here, without being consumed
    kLookBehind,    // the one child matches up to here
    kTextBegin,
    kTextEnd,
    kLineBegin,
    kLineEnd,
    kWordBoundary,
  };
  enum class Mode { kGreedy, kLazy, kPossessive };

  Kind kind;
  CodePointSet set;                   // kSet; of kWordBoundary the characters of words
  std::vector<PatternNode> children;  // none, one or several
  int min = 0, max = 0;               // kRepeat; max < 0: no end
  Mode mode = Mode::kGreedy;          // kRepeat
  bool negated = false;               // kLookAhead, kLookBehind, kWordBoundary
};

// Alternatives, groups, classes with intersections (&&) and nested classes, \p{...} for general
// categories and Han, repeats (greedy, lazy, possessive), atomic groups, looks in both directions,
// anchors, (?i) for ASCII letters. Everything else is an error (InvalidArgument) that quotes it.
absl::StatusOr<PatternNode> ParsePattern(absl::string_view regex, PatternDialect dialect);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_PATTERN_SYNTAX_H_
