#include "data/tokenizer/byte_characters.h"

#include "data/tokenizer/code_points.h"

namespace wyvern {
namespace {

constexpr uint32_t kEnd = 0x144;  // behind the last character

// The code point of each byte.
std::array<uint32_t, 256> CodePoints() {
  std::array<uint32_t, 256> codes;
  uint32_t next = 256;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    codes[b] = printable ? b : next++;
  }
  return codes;
}

}  // namespace

const std::array<std::string, 256>& ByteCharacters() {
  static const auto* characters = [] {
    auto* made = new std::array<std::string, 256>();
    for (size_t b = 0; b < 256; ++b) AppendCharacter(CodePoints()[b], &(*made)[b]);
    return made;
  }();
  return *characters;
}

std::optional<std::string> BytesOfCharacters(absl::string_view characters) {
  static const auto* bytes = [] {
    auto* made = new std::array<int, kEnd>();
    made->fill(-1);
    const std::array<uint32_t, 256> codes = CodePoints();
    for (size_t b = 0; b < 256; ++b) (*made)[codes[b]] = static_cast<int>(b);
    return made;
  }();
  std::string text;
  for (size_t at = 0; at < characters.size();) {
    int length;
    const uint32_t c = DecodeCharacter(characters.data() + at, &length);
    if (c >= kEnd || (*bytes)[c] < 0) return std::nullopt;
    text.push_back(static_cast<char>((*bytes)[c]));
    at += static_cast<size_t>(length);
  }
  return text;
}

}  // namespace wyvern
