#include "data/tokenizer/pattern_syntax.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "data/io/utf8.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Kind = PatternNode::Kind;

constexpr int kMaxDepth = 50;     // of groups and classes
constexpr int kMaxRepeat = 1000;  // in {m,n}

CodePointSet Single(uint32_t c) { return CodePointSet::Of({{c, c}}); }

// The characters that are words' for \w.
const CodePointSet& WordSet(PatternDialect dialect) {
  static const auto* common = new CodePointSet(UnicodeAlphabetic()
                                                   .Union(UnicodeCategory("M"))
                                                   .Union(UnicodeCategory("Nd"))
                                                   .Union(UnicodeCategory("Pc")));
  // Oniguruma counts the superscripts and fractions of Latin-1 as words, regex the joiners.
  static const auto* oniguruma =
      new CodePointSet(common->Union(CodePointSet::Of({{0xB2, 0xB3}, {0xB9, 0xB9}, {0xBC, 0xBE}})));
  static const auto* fancy = new CodePointSet(common->Union(CodePointSet::Of({{0x200C, 0x200D}})));
  return dialect == PatternDialect::kOniguruma ? *oniguruma : *fancy;
}

class Parser {
 public:
  Parser(absl::string_view regex, PatternDialect dialect) : rest_(regex), dialect_(dialect) {}

  absl::StatusOr<PatternNode> Parse() {
    ignore_case_ = Take("(?i)");
    ASSIGN_OR_RETURN(PatternNode node, ParseAlternatives(0));
    if (!rest_.empty()) return Unsupported("a ) without (");
    return node;
  }

 private:
  absl::Status Unsupported(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("the pattern has ", what,
                     rest_.empty() ? " at its end" : absl::StrCat(" before '", Shown(), "'"),
                     ", which Wyvern does not know"));
  }
  std::string Shown() const {
    size_t end = std::min<size_t>(rest_.size(), 20);
    while (end < rest_.size() && (rest_[end] & 0xC0) == 0x80) ++end;
    return std::string(rest_.substr(0, end));
  }

  bool Take(absl::string_view token) {
    if (!absl::StartsWith(rest_, token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  uint32_t TakeCharacter() {
    int length;
    const uint32_t c = DecodeCharacter(rest_.data(), &length);
    rest_.remove_prefix(static_cast<size_t>(length));
    return c;
  }

  absl::StatusOr<PatternNode> ParseAlternatives(int depth) {
    if (depth > kMaxDepth) return Unsupported("groups nested too deeply");
    PatternNode node{Kind::kAlternatives};
    do {
      ASSIGN_OR_RETURN(PatternNode sequence, ParseSequence(depth));
      node.children.push_back(std::move(sequence));
    } while (Take("|"));
    if (node.children.size() > 1) return node;
    return std::move(node.children[0]);
  }

  absl::StatusOr<PatternNode> ParseSequence(int depth) {
    PatternNode node{Kind::kSequence};
    while (!rest_.empty() && rest_[0] != '|' && rest_[0] != ')') {
      ASSIGN_OR_RETURN(PatternNode atom, ParseAtom(depth));
      ASSIGN_OR_RETURN(PatternNode item, ParseRepeat(std::move(atom)));
      RETURN_IF_ERROR(CheckFolding(node, item));
      node.children.push_back(std::move(item));
    }
    return node;
  }

  // Without regard to case, Oniguruma takes some pairs of letters for one character, as ss for a
  // sharp s.
  absl::Status CheckFolding(const PatternNode& before, const PatternNode& item) const {
    if (dialect_ != PatternDialect::kOniguruma || !ignore_case_ || before.children.empty()) {
      return absl::OkStatus();
    }
    const auto letter = [](const PatternNode& node) {
      return node.kind == Kind::kSet && !node.set.empty() ? node.set.ranges()[0].first : 0;
    };
    const uint32_t left = letter(before.children.back()), right = letter(item);
    if ((left == 'S' && (right == 'S' || right == 'T')) ||
        (left == 'F' && (right == 'F' || right == 'I' || right == 'L'))) {
      return Unsupported("letters that fold to one character");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<PatternNode> ParseAtom(int depth) {
    if (Take("(")) return ParseGroup(depth);
    if (Take("[")) {
      ASSIGN_OR_RETURN(CodePointSet set, ParseClass(depth + 1));
      return PatternNode{Kind::kSet, std::move(set)};
    }
    if (Take(".")) return PatternNode{Kind::kSet, Single('\n').Complement()};
    const bool onig = dialect_ == PatternDialect::kOniguruma;
    if (Take("^")) return PatternNode{onig ? Kind::kLineBegin : Kind::kTextBegin};
    if (Take("$")) return PatternNode{onig ? Kind::kLineEnd : Kind::kTextEnd};
    if (Take("\\A")) return PatternNode{Kind::kTextBegin};
    if (Take("\\z")) return PatternNode{Kind::kTextEnd};
    for (const bool negated : {false, true}) {
      if (!Take(negated ? "\\B" : "\\b")) continue;
      PatternNode node{Kind::kWordBoundary, WordSet(dialect_)};
      node.negated = negated;
      return node;
    }
    if (rest_[0] == '*' || rest_[0] == '+' || rest_[0] == '?') {
      return Unsupported("nothing to repeat");
    }
    if (rest_[0] == '\\') {
      ASSIGN_OR_RETURN(CodePointSet set, ParseEscape());
      return PatternNode{Kind::kSet, std::move(set)};
    }
    const uint32_t c = TakeCharacter();
    ASSIGN_OR_RETURN(CodePointSet set, Folded(Single(c)));
    return PatternNode{Kind::kSet, std::move(set)};
  }

  // After "(".
  absl::StatusOr<PatternNode> ParseGroup(int depth) {
    PatternNode node{Kind::kSequence};
    bool flag = ignore_case_;
    if (Take("?:")) {
    } else if (Take("?>")) {
      node.kind = Kind::kAtomic;
    } else if (Take("?=") || Take("?!")) {
      node.kind = Kind::kLookAhead;
    } else if (Take("?<=") || Take("?<!")) {
      node.kind = Kind::kLookBehind;
    } else if (Take("?i:")) {
      flag = true;
    } else if (Take("?-i:")) {
      flag = false;
    } else if (absl::StartsWith(rest_, "?")) {
      return Unsupported("a group of a kind");
    }
    if (node.kind == Kind::kLookAhead || node.kind == Kind::kLookBehind) {
      node.negated = rest_.data()[-1] == '!';
    }
    const bool outer = std::exchange(ignore_case_, flag);
    ASSIGN_OR_RETURN(PatternNode inner, ParseAlternatives(depth + 1));
    ignore_case_ = outer;
    if (!Take(")")) return Unsupported("a ( without )");
    if (node.kind == Kind::kSequence) return inner;
    node.children.push_back(std::move(inner));
    return node;
  }

  absl::StatusOr<PatternNode> ParseRepeat(PatternNode atom) {
    PatternNode node{Kind::kRepeat};
    bool interval = false;
    if (Take("*")) {
      node.max = -1;
    } else if (Take("+")) {
      node.min = 1;
      node.max = -1;
    } else if (Take("?")) {
      node.max = 1;
    } else if (absl::StartsWith(rest_, "{")) {
      interval = true;
      RETURN_IF_ERROR(ParseInterval(&node));
    } else {
      return atom;
    }
    if (Take("?")) {
      if (interval && node.min == node.max) return Unsupported("a ? behind {n}");
      node.mode = PatternNode::Mode::kLazy;
    } else if (Take("+")) {
      // Oniguruma takes the plus behind an interval for one more repeat.
      if (interval) return Unsupported("a + behind {m,n}");
      node.mode = PatternNode::Mode::kPossessive;
    }
    if (!rest_.empty() && absl::StrContains("*+?{", rest_.substr(0, 1))) {
      return Unsupported("a repeat of a repeat");
    }
    if (atom.kind != Kind::kSet && atom.kind != Kind::kSequence &&
        atom.kind != Kind::kAlternatives && atom.kind != Kind::kAtomic) {
      return Unsupported("a repeated anchor or look");
    }
    node.children.push_back(std::move(atom));
    return node;
  }

  absl::Status ParseInterval(PatternNode* node) {
    const size_t end = rest_.find('}');
    if (end == absl::string_view::npos) return Unsupported("a { without }");
    const absl::string_view inside = rest_.substr(1, end - 1);
    const size_t comma = inside.find(',');
    const absl::string_view low = inside.substr(0, comma);
    const absl::string_view high =
        comma == absl::string_view::npos ? low : inside.substr(comma + 1);
    node->max = -1;
    if (!absl::SimpleAtoi(low, &node->min) ||
        (!high.empty() && !absl::SimpleAtoi(high, &node->max)) || node->min < 0 ||
        node->min > kMaxRepeat || node->max > kMaxRepeat ||
        (node->max >= 0 && node->max < node->min)) {
      return Unsupported("an interval");
    }
    rest_.remove_prefix(end + 1);
    return absl::OkStatus();
  }

  // After "[".
  absl::StatusOr<CodePointSet> ParseClass(int depth) {
    if (depth > kMaxDepth) return Unsupported("classes nested too deeply");
    const bool negated = Take("^");
    CodePointSet set;  // of what stands since the last &&
    std::optional<CodePointSet> left;
    bool any = false;
    while (true) {
      if (rest_.empty()) return Unsupported("a [ without ]");
      if (Take("]")) break;
      if (Take("&&")) {
        left = left.has_value() ? left->Intersection(set) : std::move(set);
        set = CodePointSet();
        continue;
      }
      if (absl::StartsWith(rest_, "[:")) return Unsupported("a POSIX class");
      if (dialect_ == PatternDialect::kFancyRegex &&
          (absl::StartsWith(rest_, "--") || absl::StartsWith(rest_, "~~"))) {
        return Unsupported("a difference of classes");
      }
      if (Take("[")) {
        ASSIGN_OR_RETURN(const CodePointSet inner, ParseClass(depth + 1));
        set = set.Union(inner);
      } else {
        ASSIGN_OR_RETURN(const CodePointSet item, ParseClassItem());
        set = set.Union(item);
      }
      any = true;
    }
    if (!any) return Unsupported("an empty class");
    if (left.has_value()) set = left->Intersection(set);
    ASSIGN_OR_RETURN(set, Folded(std::move(set)));
    return negated ? set.Complement() : set;
  }

  // A character, a range of them, or a set that an escape names.
  absl::StatusOr<CodePointSet> ParseClassItem() {
    CodePointSet first;
    if (rest_[0] == '\\') {
      ASSIGN_OR_RETURN(first, ParseEscape());
    } else {
      first = Single(TakeCharacter());
    }
    const bool range = rest_.size() >= 2 && rest_[0] == '-' && rest_[1] != ']';
    if (!range) return first;
    const auto code_point = [](const CodePointSet& set) -> std::optional<uint32_t> {
      if (set.ranges().size() != 1 || set.ranges()[0].first != set.ranges()[0].second) {
        return std::nullopt;
      }
      return set.ranges()[0].first;
    };
    if (!code_point(first).has_value() || absl::StartsWith(rest_, "-[") ||
        absl::StartsWith(rest_, "--")) {
      return Unsupported("a range of a class");
    }
    rest_.remove_prefix(1);
    CodePointSet last;
    if (rest_[0] == '\\') {
      ASSIGN_OR_RETURN(last, ParseEscape());
    } else {
      last = Single(TakeCharacter());
    }
    if (!code_point(last).has_value() || *code_point(last) < *code_point(first)) {
      return Unsupported("a range that does not ascend");
    }
    return CodePointSet::Of({{*code_point(first), *code_point(last)}});
  }

  // From the backslash on.
  absl::StatusOr<CodePointSet> ParseEscape() {
    const absl::string_view at = rest_;
    const auto unknown = [&] {
      rest_ = at;
      return Unsupported("an escape");
    };
    rest_.remove_prefix(1);
    if (rest_.empty()) return unknown();
    const uint32_t c = TakeCharacter();
    switch (c) {
      case 's':
        return UnicodeWhiteSpace();
      case 'S':
        return UnicodeWhiteSpace().Complement();
      case 'd':
        return UnicodeCategory("Nd");
      case 'D':
        return UnicodeCategory("Nd").Complement();
      case 'w':
        return WordSet(dialect_);
      case 'W':
        return WordSet(dialect_).Complement();
      case 't':
        return Single('\t');
      case 'n':
        return Single('\n');
      case 'r':
        return Single('\r');
      case 'f':
        return Single('\f');
      case 'v':
        return Single('\v');
      case 'a':
        return Single('\a');
      case 'x':
      case 'u': {
        std::string digits;
        const bool braces = Take("{");
        const size_t wanted = c == 'x' ? 2 : 4;
        while (!rest_.empty() && absl::ascii_isxdigit(static_cast<unsigned char>(rest_[0])) &&
               digits.size() < (braces ? 6 : wanted)) {
          digits.push_back(rest_[0]);
          rest_.remove_prefix(1);
        }
        uint32_t value = 0;
        if (!absl::SimpleHexAtoi(digits, &value) || value > kMaxCodePoint ||
            (braces ? !Take("}") : digits.size() != wanted)) {
          return unknown();
        }
        return Folded(Single(value));
      }
      case 'p':
      case 'P': {
        bool negated = c == 'P';
        absl::string_view name;
        if (Take("{")) {
          const size_t end = rest_.find('}');
          if (end == absl::string_view::npos) return unknown();
          if (Take("^")) negated = !negated;
          name = rest_.substr(0, rest_.find('}'));
          rest_.remove_prefix(name.size() + 1);
        } else if (dialect_ == PatternDialect::kFancyRegex && !rest_.empty()) {
          name = rest_.substr(0, 1);
          rest_.remove_prefix(1);
        }
        const CodePointSet set = name == "Han" ? UnicodeHan() : UnicodeCategory(name);
        if (set.empty()) return unknown();
        return negated ? set.Complement() : set;
      }
      default:
        break;
    }
    const bool plain = c < 128 && absl::ascii_ispunct(static_cast<unsigned char>(c));
    if (!plain && !(c == ' ' || c == '/')) return unknown();
    return Single(c);
  }

  // With (?i) both cases of ASCII letters and what else folds to them: the long s and the Kelvin
  // sign.
  absl::StatusOr<CodePointSet> Folded(CodePointSet set) const {
    if (!ignore_case_) return set;
    std::vector<CodePointSet::Range> more;
    for (const CodePointSet::Range& range : set.ranges()) {
      if (range.second >= 128) return Unsupported("(?i) for other than ASCII characters");
      for (uint32_t c = range.first; c <= range.second; ++c) {
        const auto letter = static_cast<unsigned char>(c);
        if (!absl::ascii_isalpha(letter)) continue;
        more.push_back({c ^ 32, c ^ 32});
        if ((c | 32) == 's') more.push_back({0x17F, 0x17F});
        if ((c | 32) == 'k') more.push_back({0x212A, 0x212A});
      }
    }
    return set.Union(CodePointSet::Of(std::move(more)));
  }

  absl::string_view rest_;
  const PatternDialect dialect_;
  bool ignore_case_ = false;
};

}  // namespace

absl::StatusOr<PatternNode> ParsePattern(absl::string_view regex, PatternDialect dialect) {
  if (Utf8PrefixLength(regex) != regex.size()) {
    return absl::InvalidArgumentError("the pattern is not UTF-8, or holds a zero byte");
  }
  return Parser(regex, dialect).Parse();
}

}  // namespace wyvern
