#include "data/tokenizer/pattern.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Node = PatternNode;

constexpr size_t kNone = absl::string_view::npos;
constexpr size_t kMaxProgram = 10000;
// Steps of one attempt from which on a state is never entered twice, so that no expression takes
// more than a time proportional to its length and the text's.
constexpr int64_t kFreeSteps = 4096;

bool MayBeEmpty(const Node& node) {
  const auto child_may = [](const Node& child) { return MayBeEmpty(child); };
  switch (node.kind) {
    case Node::Kind::kSet:
      return false;
    case Node::Kind::kSequence:
      return std::all_of(node.children.begin(), node.children.end(), child_may);
    case Node::Kind::kAlternatives:
      return std::any_of(node.children.begin(), node.children.end(), child_may);
    case Node::Kind::kRepeat:
      return node.min == 0 || MayBeEmpty(node.children[0]);
    case Node::Kind::kAtomic:
      return MayBeEmpty(node.children[0]);
    default:
      return true;
  }
}

// The characters of every match; -1 if they are not always as many.
int FixedLength(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kSet:
      return 1;
    case Node::Kind::kSequence: {
      int sum = 0;
      for (const Node& child : node.children) {
        const int length = FixedLength(child);
        if (length < 0) return -1;
        sum += length;
      }
      return sum;
    }
    case Node::Kind::kAlternatives: {
      const int length = FixedLength(node.children[0]);
      for (const Node& child : node.children) {
        if (FixedLength(child) != length) return -1;
      }
      return length;
    }
    case Node::Kind::kRepeat: {
      const int length = FixedLength(node.children[0]);
      if (length < 0 || node.min != node.max) return -1;
      // Longer ones are too large to be compiled anyway.
      return static_cast<int>(std::min<int64_t>(int64_t{length} * node.min, kMaxProgram));
    }
    case Node::Kind::kAtomic:
      return FixedLength(node.children[0]);
    default:
      return 0;
  }
}

// The fewest characters of a match.
int MinLength(const Node& node) {
  int64_t length = 0;
  switch (node.kind) {
    case Node::Kind::kSet:
      return 1;
    case Node::Kind::kSequence:
      for (const Node& child : node.children) length += MinLength(child);
      break;
    case Node::Kind::kAlternatives:
      length = MinLength(node.children[0]);
      for (const Node& child : node.children) length = std::min<int64_t>(length, MinLength(child));
      break;
    case Node::Kind::kRepeat:
      length = int64_t{MinLength(node.children[0])} * node.min;
      break;
    case Node::Kind::kAtomic:
      return MinLength(node.children[0]);
    default:
      return 0;
  }
  return static_cast<int>(std::min<int64_t>(length, kMaxProgram));
}

// The characters that a match can begin with; all of them if it may be empty.
CodePointSet FirstSet(const Node& node) {
  const CodePointSet everything = CodePointSet().Complement();
  if (MayBeEmpty(node)) return everything;
  switch (node.kind) {
    case Node::Kind::kSet:
      return node.set;
    case Node::Kind::kSequence: {
      CodePointSet set;
      for (const Node& child : node.children) {
        if (!MayBeEmpty(child)) return set.Union(FirstSet(child));
        const bool set_or_none = child.kind == Node::Kind::kRepeat && child.min == 0;
        set = set.Union(set_or_none ? FirstSet(child.children[0]) : everything);
      }
      return everything;
    }
    case Node::Kind::kAlternatives: {
      CodePointSet set;
      for (const Node& child : node.children) set = set.Union(FirstSet(child));
      return set;
    }
    case Node::Kind::kRepeat:
    case Node::Kind::kAtomic:
      return FirstSet(node.children[0]);
    default:
      return everything;
  }
}

size_t PreviousCharacter(absl::string_view text, size_t at) {
  do {
    --at;
  } while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

}  // namespace

class PatternCompiler {
 public:
  absl::StatusOr<Pattern> Compile(const Node& root) {
    const std::vector<Node> one = {root};
    for (const Node& alternative : root.kind == Node::Kind::kAlternatives ? root.children : one) {
      const int32_t start = Here();
      RETURN_IF_ERROR(Add(alternative));
      Emit(Kind::kAccept);
      pattern_.starts_.push_back(start);
      AddStart(start, FirstSet(alternative));
    }
    if (pattern_.program_.size() > kMaxProgram) return TooLarge();
    pattern_.min_characters_ = MinLength(root);
    KeepWhatCannotHelp();
    for (const CodePointSet& set : sets_) pattern_.tables_.emplace_back(set);
    return std::move(pattern_);
  }

 private:
  using Kind = Pattern::Instruction::Kind;

  static absl::Status TooLarge() {
    return absl::InvalidArgumentError("the pattern is too large, with its repeats written out");
  }

  int32_t Here() const { return static_cast<int32_t>(pattern_.program_.size()); }

  Pattern::Instruction& Emit(Kind kind) {
    pattern_.program_.push_back({.kind = kind});
    return pattern_.program_.back();
  }
  Pattern::Instruction& At(int32_t pc) { return pattern_.program_[static_cast<size_t>(pc)]; }

  int32_t SetIndex(const CodePointSet& set) {
    const auto found = std::find(sets_.begin(), sets_.end(), set);
    if (found != sets_.end()) return static_cast<int32_t>(found - sets_.begin());
    sets_.push_back(set);
    return static_cast<int32_t>(sets_.size()) - 1;
  }

  void AddStart(int32_t start, const CodePointSet& first) {
    std::array<bool, 256> bytes = {};
    for (const CodePointSet::Range& range : first.ranges()) {
      for (uint32_t c = range.first; c <= range.second && c < 0x80; ++c) bytes[c] = true;
      if (range.second < 0x80) continue;
      // The first bytes of UTF-8 ascend with the characters.
      std::string low, high;
      AppendCharacter(std::max<uint32_t>(range.first, 0x80), &low);
      AppendCharacter(range.second, &high);
      for (int b = static_cast<unsigned char>(low[0]); b <= static_cast<unsigned char>(high[0]);
           ++b) {
        bytes[static_cast<size_t>(b)] = true;
      }
    }
    for (size_t b = 0; b < 256; ++b) {
      if (bytes[b]) pattern_.starts_of_[b].push_back(start);
    }
  }

  absl::Status Add(const Node& node) {
    if (pattern_.program_.size() > kMaxProgram) return TooLarge();
    switch (node.kind) {
      case Node::Kind::kSet: {
        const int32_t set = SetIndex(node.set);
        Emit(Kind::kSet).set = set;
        return absl::OkStatus();
      }
      case Node::Kind::kSequence:
        for (const Node& child : node.children) RETURN_IF_ERROR(Add(child));
        return absl::OkStatus();
      case Node::Kind::kAlternatives:
        return AddAlternatives(node);
      case Node::Kind::kRepeat:
        return AddRepeat(node);
      case Node::Kind::kAtomic:
        return AddSubprogram(Kind::kAtomic, node);
      case Node::Kind::kLookAhead:
        return AddSubprogram(Kind::kLookAhead, node);
      case Node::Kind::kLookBehind:
        return AddSubprogram(Kind::kLookBehind, node);
      case Node::Kind::kTextBegin:
        Emit(Kind::kTextBegin);
        return absl::OkStatus();
      case Node::Kind::kTextEnd:
        Emit(Kind::kTextEnd);
        return absl::OkStatus();
      case Node::Kind::kLineBegin:
        Emit(Kind::kLineBegin);
        return absl::OkStatus();
      case Node::Kind::kLineEnd:
        Emit(Kind::kLineEnd);
        return absl::OkStatus();
      case Node::Kind::kWordBoundary: {
        const int32_t set = SetIndex(node.set);
        Pattern::Instruction& boundary = Emit(Kind::kWordBoundary);
        boundary.set = set;
        boundary.negated = node.negated;
        return absl::OkStatus();
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddAlternatives(const Node& node) {
    std::vector<int32_t> jumps;
    for (size_t i = 0; i < node.children.size(); ++i) {
      const bool last = i + 1 == node.children.size();
      const int32_t split = Here();
      if (!last) Emit(Kind::kSplit);
      RETURN_IF_ERROR(Add(node.children[i]));
      if (last) break;
      jumps.push_back(Here());
      Emit(Kind::kJump);
      At(split).target = Here();
    }
    for (const int32_t jump : jumps) At(jump).target = Here();
    return absl::OkStatus();
  }

  absl::Status AddSubprogram(Kind kind, const Node& node) {
    const int32_t begin = Here();
    Emit(kind).negated = node.negated;
    if (kind == Kind::kLookBehind) {
      const int length = FixedLength(node.children[0]);
      if (length < 0) {
        return absl::InvalidArgumentError("the pattern looks behind for texts of unequal lengths");
      }
      At(begin).min = length;
    }
    RETURN_IF_ERROR(Add(node.children[0]));
    Emit(Kind::kAccept);
    At(begin).target = Here();
    return absl::OkStatus();
  }

  absl::Status AddRepeat(const Node& node) {
    const Node& child = node.children[0];
    if (node.mode == Node::Mode::kPossessive) {
      Node greedy = node;
      greedy.mode = Node::Mode::kGreedy;
      if (child.kind == Node::Kind::kSet) {
        RETURN_IF_ERROR(AddRepeat(greedy));
        pattern_.program_.back().keeps_all = true;
        return absl::OkStatus();
      }
      return AddSubprogram(Kind::kAtomic, Node{.kind = Node::Kind::kAtomic, .children = {greedy}});
    }
    if (child.kind == Node::Kind::kSet && node.mode == Node::Mode::kGreedy) {
      const int32_t set = SetIndex(child.set);
      Pattern::Instruction& repeat = Emit(Kind::kRepeatSet);
      repeat.set = set;
      repeat.min = node.min;
      repeat.max = node.max;
      return absl::OkStatus();
    }
    if (MayBeEmpty(child)) {
      return absl::InvalidArgumentError("the pattern repeats a group that may match nothing");
    }
    for (int i = 0; i < node.min; ++i) RETURN_IF_ERROR(Add(child));
    const Kind split = node.mode == Node::Mode::kLazy ? Kind::kSplitLazy : Kind::kSplit;
    if (node.max < 0) {
      const int32_t begin = Here();
      Emit(split);
      RETURN_IF_ERROR(Add(child));
      Emit(Kind::kJump).target = begin;
      At(begin).target = Here();
      return absl::OkStatus();
    }
    std::vector<int32_t> splits;
    for (int i = node.min; i < node.max; ++i) {
      splits.push_back(Here());
      Emit(split);
      RETURN_IF_ERROR(Add(child));
    }
    for (const int32_t s : splits) At(s).target = Here();
    return absl::OkStatus();
  }

  // Whether a match always follows from here.
  bool CannotFail(int32_t pc) {
    for (int steps = 0; steps < 100; ++steps) {
      const Pattern::Instruction& i = At(pc);
      if (i.kind == Kind::kAccept) return true;
      if (i.kind == Kind::kJump) {
        pc = i.target;
      } else if (i.kind == Kind::kRepeatSet && i.min == 0) {
        ++pc;
      } else if (i.kind == Kind::kSplit || i.kind == Kind::kSplitLazy) {
        if (i.target <= pc) return false;
        pc = i.target;
      } else {
        return false;
      }
    }
    return false;
  }

  // Whether no match from here begins with a character of the set.
  bool CannotBeginWith(int32_t pc, const CodePointSet& set, int depth) {
    const Pattern::Instruction& i = At(pc);
    if (depth > 20) return false;
    const auto apart = [&] { return sets_[static_cast<size_t>(i.set)].Intersection(set).empty(); };
    switch (i.kind) {
      case Kind::kSet:
        return apart();
      case Kind::kRepeatSet:
        return apart() && (i.min > 0 || CannotBeginWith(pc + 1, set, depth + 1));
      case Kind::kJump:
        return CannotBeginWith(i.target, set, depth + 1);
      case Kind::kSplit:
      case Kind::kSplitLazy:
        return CannotBeginWith(pc + 1, set, depth + 1) && CannotBeginWith(i.target, set, depth + 1);
      default:
        return false;
    }
  }

  // Marks the runs of which giving back a character would not help.
  void KeepWhatCannotHelp() {
    for (int32_t pc = 0; pc < Here(); ++pc) {
      Pattern::Instruction& i = At(pc);
      if (i.kind != Kind::kRepeatSet) continue;
      i.keeps_all = i.keeps_all || i.min == i.max || CannotFail(pc + 1) ||
                    CannotBeginWith(pc + 1, sets_[static_cast<size_t>(i.set)], 0);
    }
  }

  Pattern pattern_;
  std::vector<CodePointSet> sets_;
};

absl::StatusOr<Pattern> Pattern::Compile(absl::string_view regex, PatternDialect dialect) {
  ASSIGN_OR_RETURN(const PatternNode node, ParsePattern(regex, dialect));
  return PatternCompiler().Compile(node);
}

Pattern Pattern::Literal(absl::string_view text) {
  PatternNode node{.kind = PatternNode::Kind::kSequence};
  for (size_t at = 0; at < text.size();) {
    int length;
    const uint32_t c = DecodeCharacter(text.data() + at, &length);
    node.children.push_back({.kind = PatternNode::Kind::kSet, .set = CodePointSet::Of({{c, c}})});
    at += static_cast<size_t>(length);
  }
  return *PatternCompiler().Compile(node);
}

size_t Pattern::MatchAt(absl::string_view text, size_t begin) const {
  const std::vector<int32_t>& starts =
      begin < text.size() ? starts_of_[static_cast<unsigned char>(text[begin])] : starts_;
  for (const int32_t start : starts) {
    const size_t end = Run(text, start, begin);
    if (end != kNone) return end;
  }
  return kNone;
}

size_t Pattern::Run(absl::string_view text, int32_t pc, size_t at) const {
  struct Frame {
    int32_t pc;
    size_t at, least;  // a run: it may give back down to `least`
  };
  // Few attempts need more frames than these.
  constexpr int kFewFrames = 16;
  Frame few[kFewFrames];
  std::vector<Frame> many;
  int num_frames = 0;
  const auto push = [&](const Frame& frame) {
    if (num_frames < kFewFrames) {
      few[num_frames] = frame;
    } else {
      many.push_back(frame);
    }
    ++num_frames;
  };
  int64_t steps = 0;
  std::unordered_set<uint64_t> seen;
  const auto is_new = [&](int32_t state_pc, size_t state_at) {
    if (++steps < kFreeSteps) return true;
    return seen.insert(static_cast<uint64_t>(state_pc) << 48 | state_at).second;
  };
  const char* const data = text.data();
  const size_t size = text.size();
  while (true) {
    const Instruction& i = program_[static_cast<size_t>(pc)];
    bool ok = true;
    switch (i.kind) {
      case Instruction::Kind::kSet: {
        int length = 0;
        ok = at < size &&
             tables_[static_cast<size_t>(i.set)].Has(DecodeCharacter(data + at, &length));
        at += static_cast<size_t>(length);
        ++pc;
        break;
      }
      case Instruction::Kind::kRepeatSet: {
        const CodePointTable& table = tables_[static_cast<size_t>(i.set)];
        int count = 0;
        size_t end = at, least = at;
        while (end < size && count != i.max) {
          const auto byte = static_cast<unsigned char>(data[end]);
          int length = 1;
          if (byte < 0x80) {
            if (!table.HasAscii(byte)) break;
          } else if (!table.Has(DecodeCharacter(data + end, &length))) {
            break;
          }
          end += static_cast<size_t>(length);
          if (++count == i.min) least = end;
        }
        ok = count >= i.min;
        if (!ok) break;
        if (!i.keeps_all && end > least) push({pc + 1, end, least});
        at = end;
        ++pc;
        break;
      }
      case Instruction::Kind::kSplit:
      case Instruction::Kind::kSplitLazy:
        ok = is_new(pc, at);
        if (!ok) break;
        if (i.kind == Instruction::Kind::kSplit) {
          push({i.target, at, at});
          ++pc;
        } else {
          push({pc + 1, at, at});
          pc = i.target;
        }
        break;
      case Instruction::Kind::kJump:
        pc = i.target;
        break;
      case Instruction::Kind::kAtomic: {
        const size_t end = Run(text, pc + 1, at);
        ok = end != kNone;
        at = end;
        pc = i.target;
        break;
      }
      case Instruction::Kind::kLookAhead:
        ok = (Run(text, pc + 1, at) != kNone) != i.negated;
        pc = i.target;
        break;
      case Instruction::Kind::kLookBehind: {
        size_t from = at;
        int back = 0;
        while (back < i.min && from > 0) {
          from = PreviousCharacter(text, from);
          ++back;
        }
        ok = (back == i.min && Run(text, pc + 1, from) == at) != i.negated;
        pc = i.target;
        break;
      }
      case Instruction::Kind::kTextBegin:
        ok = at == 0;
        ++pc;
        break;
      case Instruction::Kind::kTextEnd:
        ok = at == size;
        ++pc;
        break;
      case Instruction::Kind::kLineBegin:
        ok = at == 0 || (data[at - 1] == '\n' && at < size);
        ++pc;
        break;
      case Instruction::Kind::kLineEnd:
        ok = at == size || data[at] == '\n';
        ++pc;
        break;
      case Instruction::Kind::kWordBoundary: {
        const CodePointTable& table = tables_[static_cast<size_t>(i.set)];
        int length;
        const bool before =
            at > 0 && table.Has(DecodeCharacter(data + PreviousCharacter(text, at), &length));
        const bool after = at < size && table.Has(DecodeCharacter(data + at, &length));
        ok = (before != after) != i.negated;
        ++pc;
        break;
      }
      case Instruction::Kind::kAccept:
        return at;
    }
    while (!ok) {
      if (num_frames == 0) return kNone;
      Frame& top = num_frames <= kFewFrames ? few[num_frames - 1] : many.back();
      pc = top.pc;
      if (top.at > top.least) {  // a run: it gives back one character
        top.at = PreviousCharacter(text, top.at);
        at = top.at;
        if (top.at == top.least) {
          if (num_frames > kFewFrames) many.pop_back();
          --num_frames;
        }
      } else {
        at = top.at;
        if (num_frames > kFewFrames) many.pop_back();
        --num_frames;
      }
      ok = is_new(pc, at);
    }
  }
}

}  // namespace wyvern
