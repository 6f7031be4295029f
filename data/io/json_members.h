// Members of a JSON object of a file of Wyvern's own, each with the type that it must have.
#ifndef WYVERN_DATA_IO_JSON_MEMBERS_H_
#define WYVERN_DATA_IO_JSON_MEMBERS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// The integer that a value is; nothing for other values and numbers beyond int64_t.
std::optional<int64_t> JsonInteger(const nlohmann::json& value);

// A value as a message shows it: on one line, its beginning if it is long.
std::string DescribeJson(const nlohmann::json& value);

// Every error is a DataLoss such as
//   manifest.json: damaged: tensors[3].shape: expected a list of integers from 0, got "x"
class JsonMembers {
 public:
  // `value`, which must outlive this, may be of any type: its members are then missing. `path` is
  // its place in the file ("tensors[3]"), empty for the whole.
  JsonMembers(const nlohmann::json& value, std::string file, std::string path = "")
      : value_(value), file_(std::move(file)), path_(std::move(path)) {}

  bool Has(const std::string& key) const { return value_.is_object() && value_.contains(key); }
  absl::StatusOr<std::string> String(const std::string& key) const;
  absl::StatusOr<int64_t> Count(const std::string& key) const;  // from 0
  absl::StatusOr<int64_t> Count(const std::string& key, int64_t if_missing) const;
  absl::StatusOr<std::vector<int64_t>> Counts(const std::string& key) const;
  absl::StatusOr<double> Number(const std::string& key) const;
  absl::StatusOr<const nlohmann::json*> List(const std::string& key) const;
  absl::StatusOr<const nlohmann::json*> Object(const std::string& key) const;
  absl::StatusOr<const nlohmann::json*> Any(const std::string& key) const;

  // The error of a member that is not as expected.
  absl::Status Expected(const std::string& key, absl::string_view what) const;
  // The members of an object in the list, or of the object, of that name.
  JsonMembers At(const std::string& key, size_t index) const;
  JsonMembers At(const std::string& key) const;

 private:
  const nlohmann::json* Find(const std::string& key) const;
  std::string PathOf(const std::string& key) const;

  const nlohmann::json& value_;
  const std::string file_, path_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_JSON_MEMBERS_H_
