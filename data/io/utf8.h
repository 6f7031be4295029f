// UTF-8 as text holds it: no overlong forms, no surrogates, nothing beyond U+10FFFF, and no zero
// byte, which is the surest sign of something else than text. All else is an error.
#ifndef WYVERN_DATA_IO_UTF8_H_
#define WYVERN_DATA_IO_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

inline constexpr absl::string_view kUtf8Bom = "\xEF\xBB\xBF";

// The bytes before the first error; all of them if there is none.
size_t Utf8PrefixLength(absl::string_view text);

// Whether `text` is the beginning of one character, of which the rest is missing.
bool IsCutCharacter(absl::string_view text);

// Whether a byte of UTF-8 is the first one of a code point.
inline bool BeginsCharacter(char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }
// The code points of valid UTF-8.
int64_t CountCharacters(absl::string_view text);

// Puts U+FFFD in the place of every error (the longest beginning of a character, else one byte) and
// returns their number.
int64_t ReplaceUtf8Faults(std::string* text);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_UTF8_H_
