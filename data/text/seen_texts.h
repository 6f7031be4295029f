// Which texts came before, by a hash of their bytes.
#ifndef WYVERN_DATA_TEXT_SEEN_TEXTS_H_
#define WYVERN_DATA_TEXT_SEEN_TEXTS_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// Keeps the first 128 bits of SHA-256 of each text: 16 bytes, in a table that is half to 7/8 full,
// so 20 to 40 bytes of memory a text. Two of 10^12 different texts have the same hash with a
// chance of 2^-48.
class SeenTexts {
 public:
  // Whether the text is new; it is seen from then on.
  bool Insert(absl::string_view text);

 private:
  // The bits of a hash need none.
  struct LowBits {
    size_t operator()(absl::uint128 hash) const { return absl::Uint128Low64(hash); }
  };
  absl::flat_hash_set<absl::uint128, LowBits> hashes_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_SEEN_TEXTS_H_
