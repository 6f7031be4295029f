#include "data/tokenizer/token_model.h"

#include <utility>

namespace wyvern {

bool Vocabulary::Add(std::string token, int64_t id) {
  if (id < 0 || id >= (int64_t{1} << 24)) return false;
  const auto index = static_cast<size_t>(id);
  if (index < tokens_.size() && tokens_[index] != nullptr) return false;
  const auto [place, added] = ids_.emplace(std::move(token), static_cast<int32_t>(id));
  if (!added) return false;
  if (index >= tokens_.size()) tokens_.resize(index + 1, nullptr);
  tokens_[index] = &place->first;
  return true;
}

std::optional<int32_t> Vocabulary::Find(absl::string_view token) const {
  const auto found = ids_.find(std::string(token));
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::Token(int32_t id) const {
  if (id < 0 || id >= end_id()) return nullptr;
  return tokens_[static_cast<size_t>(id)];
}

}  // namespace wyvern
