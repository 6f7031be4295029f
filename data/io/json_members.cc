#include "data/io/json_members.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxShownBytes = 80;

}  // namespace

std::optional<int64_t> JsonInteger(const Json& value) {
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > kMax)) {
    return std::nullopt;
  }
  return value.get<int64_t>();
}

std::string DescribeJson(const Json& value) {
  if (value.is_structured() && value.size() > kMaxShownBytes) {
    return absl::StrCat(value.is_array() ? "a list of " : "an object of ", value.size());
  }
  const std::string text = JsonText(value);
  if (text.size() <= kMaxShownBytes) return text;
  return absl::StrCat(text.substr(0, kMaxShownBytes), "...");
}

const Json* JsonMembers::Find(const std::string& key) const {
  if (!value_.is_object()) return nullptr;
  const auto found = value_.find(key);
  return found == value_.end() ? nullptr : &*found;
}

std::string JsonMembers::PathOf(const std::string& key) const {
  return path_.empty() ? key : absl::StrCat(path_, ".", key);
}

absl::Status JsonMembers::Expected(const std::string& key, absl::string_view what) const {
  const Json* found = Find(key);
  return absl::DataLossError(absl::StrCat(file_, ": damaged: ", PathOf(key), ": expected ", what,
                                          ", got ",
                                          found == nullptr ? "nothing" : DescribeJson(*found)));
}

absl::StatusOr<std::string> JsonMembers::String(const std::string& key) const {
  const Json* found = Find(key);
  if (found == nullptr || !found->is_string()) return Expected(key, "a string");
  return found->get<std::string>();
}

absl::StatusOr<int64_t> JsonMembers::Count(const std::string& key) const {
  const Json* found = Find(key);
  const std::optional<int64_t> count = found == nullptr ? std::nullopt : JsonInteger(*found);
  if (!count.has_value() || *count < 0) return Expected(key, "an integer from 0");
  return *count;
}

absl::StatusOr<int64_t> JsonMembers::Count(const std::string& key, int64_t if_missing) const {
  if (!Has(key)) return if_missing;
  return Count(key);
}

absl::StatusOr<std::vector<int64_t>> JsonMembers::Counts(const std::string& key) const {
  std::vector<int64_t> counts;
  const Json* found = Find(key);
  bool good = found != nullptr && found->is_array();
  for (size_t i = 0; good && i < found->size(); ++i) {
    const std::optional<int64_t> count = JsonInteger((*found)[i]);
    good = count.has_value() && *count >= 0;
    if (good) counts.push_back(*count);
  }
  if (!good) return Expected(key, "a list of integers from 0");
  return counts;
}

absl::StatusOr<double> JsonMembers::Number(const std::string& key) const {
  const Json* found = Find(key);
  if (found == nullptr || !found->is_number()) return Expected(key, "a number");
  return found->get<double>();
}

absl::StatusOr<const Json*> JsonMembers::List(const std::string& key) const {
  const Json* found = Find(key);
  if (found == nullptr || !found->is_array()) return Expected(key, "a list");
  return found;
}

absl::StatusOr<const Json*> JsonMembers::Object(const std::string& key) const {
  const Json* found = Find(key);
  if (found == nullptr || !found->is_object()) return Expected(key, "an object");
  return found;
}

absl::StatusOr<const Json*> JsonMembers::Any(const std::string& key) const {
  const Json* found = Find(key);
  if (found == nullptr) return Expected(key, "a value");
  return found;
}

JsonMembers JsonMembers::At(const std::string& key, size_t index) const {
  static const Json* const kNull = new Json;
  const Json* list = Find(key);
  const bool there = list != nullptr && list->is_array() && index < list->size();
  return JsonMembers(there ? (*list)[index] : *kNull, file_,
                     absl::StrCat(PathOf(key), "[", index, "]"));
}

JsonMembers JsonMembers::At(const std::string& key) const {
  static const Json* const kNull = new Json;
  const Json* found = Find(key);
  return JsonMembers(found == nullptr ? *kNull : *found, file_, PathOf(key));
}

}  // namespace wyvern
