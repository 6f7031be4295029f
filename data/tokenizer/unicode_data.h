// Properties of code points in Unicode 16.0, the version of the libraries whose ids are to be met.
// The system's libraries know other versions, by which ids would depend on the machine.
#ifndef WYVERN_DATA_TOKENIZER_UNICODE_DATA_H_
#define WYVERN_DATA_TOKENIZER_UNICODE_DATA_H_

#include <array>
#include <cstdint>

namespace wyvern {

inline constexpr int kNumUnicodeRuns = 4301;

// Runs of code points with equal properties, in order. Bits 8 and up: the first code point of the
// run, which ends where the next one begins. Bits 0 to 4: the index of the general category in
// kUnicodeCategories; then the flags.
extern const std::array<uint32_t, kNumUnicodeRuns> kUnicodeRuns;

inline constexpr std::array<const char*, 30> kUnicodeCategories = {
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe",
    "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"};
inline constexpr uint32_t kUnicodeCategoryMask = 31;
inline constexpr uint32_t kUnicodeAlphabetic = 32;  // the property Alphabetic
inline constexpr uint32_t kUnicodeHan = 64;         // the script Han
inline constexpr uint32_t kUnicode9 = 128;          // assigned in Unicode 9.0

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_UNICODE_DATA_H_
