#include "data/tokenizer/lowercase.h"

#include <utf8proc.h>

#include "data/tokenizer/code_points.h"

namespace wyvern {
namespace {

// Mappings that older versions of utf8proc do not know.
struct LaterRange {
  uint32_t first, last;
  int32_t offset;
};
constexpr LaterRange kLater[] = {
    {0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
    {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
    {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
    {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
    {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B},
};

uint32_t LowercaseOf(uint32_t c) {
  for (const LaterRange& range : kLater) {
    if (c >= range.first && c <= range.last) {
      return static_cast<uint32_t>(static_cast<int32_t>(c) + range.offset);
    }
  }
  return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

}  // namespace

std::string Lowercase(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    int length;
    const uint32_t c = DecodeCharacter(text.data() + at, &length);
    at += static_cast<size_t>(length);
    if (c == 0x130) {  // a capital i with a dot
      out += "i\xCC\x87";
    } else {
      AppendCharacter(c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c) : LowercaseOf(c), &out);
    }
  }
  return out;
}

}  // namespace wyvern
