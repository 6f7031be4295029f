// Parts of a tokenizer.json, which know where they stand in it.
#ifndef WYVERN_DATA_TOKENIZER_JSON_PART_H_
#define WYVERN_DATA_TOKENIZER_JSON_PART_H_

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// Every error is an InvalidArgument such as
//   tokenizer.json: pre_tokenizer.pretokenizers[1].behavior: expected a text, got 3
class JsonPart {
 public:
  // `value` must outlive this.
  JsonPart(const nlohmann::json& value, std::string file, std::string path)
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  bool is_null() const { return value_->is_null(); }

  absl::Status Error(absl::string_view what) const;
  absl::Status Expected(absl::string_view what) const;  // "expected `what`, got ..."

  // A missing member is null.
  JsonPart At(absl::string_view key) const;
  JsonPart At(size_t index) const;

  // Errors: no object; a member that is neither "type" nor of `keys` and has a value.
  absl::Status CheckKeys(std::initializer_list<absl::string_view> keys) const;

  absl::StatusOr<std::string> Text() const;
  absl::StatusOr<bool> Bool() const;
  absl::StatusOr<bool> Bool(bool if_null) const;
  absl::StatusOr<int64_t> Count() const;       // from 0
  absl::StatusOr<uint32_t> Character() const;  // of a text of one
  absl::StatusOr<size_t> ListSize() const;

 private:
  const nlohmann::json* value_;
  std::string file_, path_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_JSON_PART_H_
