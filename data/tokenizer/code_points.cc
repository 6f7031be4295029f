#include "data/tokenizer/code_points.h"

#include <algorithm>
#include <map>

#include "data/tokenizer/unicode_data.h"

namespace wyvern {
namespace {

template <typename Wanted>
CodePointSet RunsThat(const Wanted& wanted) {
  std::vector<CodePointSet::Range> ranges;
  for (int i = 0; i < kNumUnicodeRuns; ++i) {
    if (!wanted(kUnicodeRuns[i] & 0xFF)) continue;
    const uint32_t last = i + 1 < kNumUnicodeRuns ? (kUnicodeRuns[i + 1] >> 8) - 1 : kMaxCodePoint;
    ranges.push_back({kUnicodeRuns[i] >> 8, last});
  }
  return CodePointSet::Of(std::move(ranges));
}

CodePointSet Flagged(uint32_t flag) {
  return RunsThat([flag](uint32_t properties) { return (properties & flag) != 0; });
}

}  // namespace

void AppendCharacter(uint32_t code_point, std::string* text) {
  const auto push = [text](uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    push(code_point);
  } else if (code_point < 0x800) {
    push(0xC0 | code_point >> 6);
    push(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    push(0xE0 | code_point >> 12);
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  } else {
    push(0xF0 | code_point >> 18);
    push(0x80 | (code_point >> 12 & 0x3F));
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  }
}

CodePointSet CodePointSet::Of(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end());
  CodePointSet set;
  for (const Range& range : ranges) {
    if (!set.ranges_.empty() && range.first <= set.ranges_.back().second + 1) {
      set.ranges_.back().second = std::max(set.ranges_.back().second, range.second);
    } else {
      set.ranges_.push_back(range);
    }
  }
  return set;
}

CodePointSet CodePointSet::Union(const CodePointSet& other) const {
  std::vector<Range> all = ranges_;
  all.insert(all.end(), other.ranges_.begin(), other.ranges_.end());
  return Of(std::move(all));
}

CodePointSet CodePointSet::Intersection(const CodePointSet& other) const {
  return Complement().Union(other.Complement()).Complement();
}

CodePointSet CodePointSet::Complement() const {
  CodePointSet set;
  uint32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.first > next) set.ranges_.push_back({next, range.first - 1});
    next = range.second + 1;
  }
  if (next <= kMaxCodePoint) set.ranges_.push_back({next, kMaxCodePoint});
  return set;
}

CodePointTable::CodePointTable(const CodePointSet& set) : block_of_((kMaxCodePoint >> 8) + 1) {
  std::vector<Block> all(block_of_.size(), Block{});
  for (const CodePointSet::Range& range : set.ranges()) {
    for (uint32_t c = range.first; c <= range.second; ++c) {
      all[c >> 8][(c >> 6) & 3] |= uint64_t{1} << (c & 63);
    }
  }
  ascii_ = {all[0][0], all[0][1]};
  std::map<Block, uint16_t> known;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto [place, added] = known.try_emplace(all[i], static_cast<uint16_t>(blocks_.size()));
    if (added) blocks_.push_back(all[i]);
    block_of_[i] = place->second;
  }
}

CodePointSet UnicodeCategory(absl::string_view name) {
  uint32_t wanted = 0;
  for (size_t i = 0; i < kUnicodeCategories.size(); ++i) {
    const absl::string_view category = kUnicodeCategories[i];
    if (name == category || (name.size() == 1 && name[0] == category[0])) wanted |= 1u << i;
  }
  return RunsThat([wanted](uint32_t properties) {
    return (wanted >> (properties & kUnicodeCategoryMask) & 1) != 0;
  });
}

const CodePointSet& UnicodeHan() {
  static const auto* set = new CodePointSet(Flagged(kUnicodeHan));
  return *set;
}

const CodePointSet& UnicodeWhiteSpace() {
  static const auto* set =
      new CodePointSet(UnicodeCategory("Z").Union(CodePointSet::Of({{'\t', '\r'}, {0x85, 0x85}})));
  return *set;
}

const CodePointSet& UnicodeAlphabetic() {
  static const auto* set = new CodePointSet(Flagged(kUnicodeAlphabetic));
  return *set;
}

const CodePointSet& Unicode9() {
  static const auto* set = new CodePointSet(Flagged(kUnicode9));
  return *set;
}

}  // namespace wyvern
