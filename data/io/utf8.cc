#include "data/io/utf8.h"

#include <algorithm>
#include <cstring>

namespace wyvern {
namespace {

enum class Form { kWhole, kCut, kFault };

// The text's first character and its bytes; of an error, the longest beginning of a character.
struct Character {
  size_t length;
  Form form;
};

Character FirstCharacter(absl::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead > 0 && lead < 0x80) return {1, Form::kWhole};
  const size_t size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0) return {1, Form::kFault};
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;   // no overlong form
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;  // no surrogate
  for (size_t i = 1; i < size; ++i) {
    if (i == text.size()) return {i, Form::kCut};
    if (byte(i) < low || byte(i) > high) return {i, Form::kFault};
    low = 0x80;
    high = 0xBF;
  }
  return {size, Form::kWhole};
}

// Whether all of eight bytes lie in [1, 0x7F].
bool ArePlain(const char* bytes) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHigh = 0x8080808080808080;
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return ((word | (word - kOnes)) & kHigh) == 0;
}

}  // namespace

int64_t CountCharacters(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), BeginsCharacter);
}

size_t Utf8PrefixLength(absl::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (i + 8 <= text.size() && ArePlain(text.data() + i)) {
      i += 8;
      continue;
    }
    const Character character = FirstCharacter(text.substr(i));
    if (character.form != Form::kWhole) return i;
    i += character.length;
  }
  return i;
}

bool IsCutCharacter(absl::string_view text) {
  if (text.empty()) return false;
  const Character character = FirstCharacter(text);
  return character.form == Form::kCut && character.length == text.size();
}

int64_t ReplaceUtf8Faults(std::string* text) {
  int64_t faults = 0;
  size_t good = Utf8PrefixLength(*text);
  if (good == text->size()) return 0;
  std::string mended;
  absl::string_view rest = *text;
  while (!rest.empty()) {
    mended.append(rest.data(), good);
    rest.remove_prefix(good);
    if (rest.empty()) break;
    mended += "\xEF\xBF\xBD";
    ++faults;
    rest.remove_prefix(FirstCharacter(rest).length);
    good = Utf8PrefixLength(rest);
  }
  *text = std::move(mended);
  return faults;
}

}  // namespace wyvern
