#include "data/tokenizer/token_bytes.h"

#include <algorithm>

namespace wyvern {

TokenBytes::TokenBytes(const Tokenizer& tokenizer) {
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    inside_.push_back(static_cast<int32_t>(tokenizer.BytesOf(id).size()));
    // A byte that is no character by itself may decode to a longer replacement.
    first_.push_back(std::min(inside_.back(), static_cast<int32_t>(tokenizer.Decode({id}).size())));
  }
}

int64_t TokenBytes::Count(int32_t previous, int32_t token) const {
  const auto bytes = [](const std::vector<int32_t>& of, int32_t id) {
    return id < 0 || static_cast<size_t>(id) >= of.size() ? 0 : of[static_cast<size_t>(id)];
  };
  return bytes(bytes(inside_, previous) == 0 ? first_ : inside_, token);
}

}  // namespace wyvern
