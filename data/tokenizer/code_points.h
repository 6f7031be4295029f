// Sets of code points, and the characters of UTF-8.
#ifndef WYVERN_DATA_TOKENIZER_CODE_POINTS_H_
#define WYVERN_DATA_TOKENIZER_CODE_POINTS_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

inline constexpr uint32_t kMaxCodePoint = 0x10FFFF;

// The character at `at`, which valid UTF-8 has there; its length goes to `length`.
inline uint32_t DecodeCharacter(const char* at, int* length) {
  const auto byte = [at](int i) {
    return static_cast<uint32_t>(static_cast<unsigned char>(at[i]));
  };
  const uint32_t first = byte(0);
  if (first < 0x80) {
    *length = 1;
    return first;
  }
  if (first < 0xE0) {
    *length = 2;
    return (first & 0x1F) << 6 | (byte(1) & 0x3F);
  }
  if (first < 0xF0) {
    *length = 3;
    return (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  }
  *length = 4;
  return (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

// The bytes of the character whose first one is given.
inline int CharacterLength(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

void AppendCharacter(uint32_t code_point, std::string* text);

// Ranges in order, apart from each other.
class CodePointSet {
 public:
  using Range = std::pair<uint32_t, uint32_t>;  // first and last

  CodePointSet() = default;
  static CodePointSet Of(std::vector<Range> ranges);

  CodePointSet Union(const CodePointSet& other) const;
  CodePointSet Intersection(const CodePointSet& other) const;
  CodePointSet Complement() const;

  bool empty() const { return ranges_.empty(); }
  const std::vector<Range>& ranges() const { return ranges_; }
  bool operator==(const CodePointSet&) const = default;

 private:
  std::vector<Range> ranges_;
};

// The same, with one load or two for a look-up.
class CodePointTable {
 public:
  CodePointTable() = default;
  explicit CodePointTable(const CodePointSet& set);

  bool HasAscii(unsigned char byte) const { return (ascii_[byte >> 6] >> (byte & 63)) & 1; }
  bool Has(uint32_t code_point) const {
    if (code_point < 128) return HasAscii(static_cast<unsigned char>(code_point));
    const Block& block = blocks_[block_of_[code_point >> 8]];
    return (block[(code_point >> 6) & 3] >> (code_point & 63)) & 1;
  }

 private:
  using Block = std::array<uint64_t, 4>;  // 256 code points
  std::array<uint64_t, 2> ascii_ = {};
  std::vector<uint16_t> block_of_;
  std::vector<Block> blocks_;
};

// Sets of Unicode 16.0. A category is named by one letter or two ("L", "Nd"); an unknown name gives
// an empty set.
CodePointSet UnicodeCategory(absl::string_view name);
const CodePointSet& UnicodeHan();
const CodePointSet& UnicodeWhiteSpace();  // the property White_Space
const CodePointSet& UnicodeAlphabetic();
const CodePointSet& Unicode9();  // what Unicode 9.0 had assigned

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_CODE_POINTS_H_
