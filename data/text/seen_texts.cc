#include "data/text/seen_texts.h"

#include <openssl/sha.h>

#include <array>
#include <cstring>

namespace wyvern {

bool SeenTexts::Insert(absl::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::array<uint64_t, 2> halves;
  std::memcpy(halves.data(), digest.data(), sizeof(halves));
  return hashes_.insert(absl::MakeUint128(halves[1], halves[0])).second;
}

}  // namespace wyvern
