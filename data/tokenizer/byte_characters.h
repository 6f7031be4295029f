// The characters by which vocabularies of bytes write the 256 bytes (GPT-2's encoder.py): printable
// ones stand for themselves, the others are U+0100 and up.
#ifndef WYVERN_DATA_TOKENIZER_BYTE_CHARACTERS_H_
#define WYVERN_DATA_TOKENIZER_BYTE_CHARACTERS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

// The character of each byte, in UTF-8.
const std::array<std::string, 256>& ByteCharacters();

// The bytes that the characters stand for; nothing if one of them stands for none.
std::optional<std::string> BytesOfCharacters(absl::string_view characters);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_BYTE_CHARACTERS_H_
