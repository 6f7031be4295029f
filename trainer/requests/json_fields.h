// Keys of a JSON object that a user sent, each with the type that it must have.
#ifndef WYVERN_TRAINER_REQUESTS_JSON_FIELDS_H_
#define WYVERN_TRAINER_REQUESTS_JSON_FIELDS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace wyvern {

// Wherever a request takes a text, it takes token ids, too.
using TextOrIds = std::variant<std::string, std::vector<int32_t>>;

// Every error is an InvalidArgument that names the key:
//   max_tokens: expected an integer from 1 to 10, got "x"
// A key with the value null is absent.
class JsonFields {
 public:
  // `object` must outlive this.
  explicit JsonFields(const nlohmann::json& object) : object_(object) {}

  bool Has(const std::string& key) const { return Find(key) != nullptr; }
  const nlohmann::json* Find(const std::string& key) const;  // null: absent

  absl::StatusOr<int64_t> Integer(const std::string& key, int64_t otherwise, int64_t least,
                                  int64_t most) const;
  absl::StatusOr<double> Number(const std::string& key, double otherwise) const;
  absl::StatusOr<bool> Bool(const std::string& key, bool otherwise) const;
  absl::StatusOr<std::string> Text(const std::string& key) const;
  // A string or a list of strings, none of them empty; absent: none.
  absl::StatusOr<std::vector<std::string>> Texts(const std::string& key) const;
  absl::StatusOr<TextOrIds> TextOrTokenIds(const std::string& key) const;

  // Error: a key that is none of these.
  absl::Status CheckKeys(absl::Span<const absl::string_view> known) const;
  absl::Status Expected(const std::string& key, absl::string_view what) const;

 private:
  const nlohmann::json& object_;
};

// A list of token ids; nothing for any other value.
std::optional<std::vector<int32_t>> TokenIds(const nlohmann::json& value);

// The status with "KEY: " before its message.
absl::Status Of(absl::string_view key, const absl::Status& status);
template <typename T>
absl::StatusOr<T> Of(absl::string_view key, absl::StatusOr<T> value) {
  if (value.ok()) return value;
  return Of(key, value.status());
}

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REQUESTS_JSON_FIELDS_H_
