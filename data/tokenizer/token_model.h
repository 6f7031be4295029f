// The part of a tokenizer that turns pieces of text into ids of a vocabulary.
#ifndef WYVERN_DATA_TOKENIZER_TOKEN_MODEL_H_
#define WYVERN_DATA_TOKENIZER_TOKEN_MODEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

// Tokens and their ids, which need not be without gaps.
class Vocabulary {
 public:
  // False if the token or the id is there already, or the id is not in [0, 2^24).
  bool Add(std::string token, int64_t id);

  std::optional<int32_t> Find(absl::string_view token) const;
  // nullptr if there is none.
  const std::string* Token(int32_t id) const;

  size_t size() const { return ids_.size(); }
  int32_t end_id() const { return static_cast<int32_t>(tokens_.size()); }  // the largest, plus one

 private:
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<const std::string*> tokens_;  // keys of ids_
};

// Immutable once made, so any number of threads may use one.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of a piece of valid UTF-8, or of bytes where the model was made for them.
  virtual void Encode(absl::string_view piece, std::vector<int32_t>* ids) const = 0;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TOKEN_MODEL_H_
