#include "trainer/requests/json_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/json_members.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

}  // namespace

const Json* JsonFields::Find(const std::string& key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::Status JsonFields::Expected(const std::string& key, absl::string_view what) const {
  const Json* found = Find(key);
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": expected ", what, ", got ",
                   found == nullptr ? std::string("nothing") : DescribeJson(*found)));
}

absl::StatusOr<int64_t> JsonFields::Integer(const std::string& key, int64_t otherwise,
                                            int64_t least, int64_t most) const {
  const Json* found = Find(key);
  if (found == nullptr) return otherwise;
  const std::optional<int64_t> value = JsonInteger(*found);
  if (!value.has_value() || *value < least || *value > most) {
    return Expected(key, absl::StrCat("an integer from ", least, " to ", most));
  }
  return *value;
}

absl::StatusOr<double> JsonFields::Number(const std::string& key, double otherwise) const {
  const Json* found = Find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_number() || !std::isfinite(found->get<double>())) {
    return Expected(key, "a number");
  }
  return found->get<double>();
}

absl::StatusOr<bool> JsonFields::Bool(const std::string& key, bool otherwise) const {
  const Json* found = Find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean()) return Expected(key, "true or false");
  return found->get<bool>();
}

absl::StatusOr<std::string> JsonFields::Text(const std::string& key) const {
  const Json* found = Find(key);
  if (found == nullptr || !found->is_string()) return Expected(key, "a string");
  return found->get<std::string>();
}

absl::StatusOr<std::vector<std::string>> JsonFields::Texts(const std::string& key) const {
  constexpr absl::string_view kWhat = "a string or a list of strings, none of them empty";
  std::vector<std::string> texts;
  const Json* found = Find(key);
  if (found == nullptr) return texts;
  const Json list = found->is_string() ? Json::array({*found}) : *found;
  if (!list.is_array()) return Expected(key, kWhat);
  for (const Json& text : list) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty()) {
      return Expected(key, kWhat);
    }
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

absl::StatusOr<TextOrIds> JsonFields::TextOrTokenIds(const std::string& key) const {
  const Json* found = Find(key);
  if (found != nullptr && found->is_string()) return TextOrIds(found->get<std::string>());
  if (found != nullptr) {
    if (std::optional<std::vector<int32_t>> ids = TokenIds(*found))
      return TextOrIds(*std::move(ids));
  }
  return Expected(key, "a string or a list of token ids");
}

absl::Status JsonFields::CheckKeys(absl::Span<const absl::string_view> known) const {
  for (const auto& [key, value] : object_.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        DescribeJson(key), ": no such key; a request like this has ", absl::StrJoin(known, ", ")));
  }
  return absl::OkStatus();
}

std::optional<std::vector<int32_t>> TokenIds(const Json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<int32_t> ids;
  ids.reserve(value.size());
  for (const Json& id : value) {
    const std::optional<int64_t> number = JsonInteger(id);
    if (!number.has_value() || *number < 0 || *number > std::numeric_limits<int32_t>::max()) {
      return std::nullopt;
    }
    ids.push_back(static_cast<int32_t>(*number));
  }
  return ids;
}

absl::Status Of(absl::string_view key, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(key, ": ", absl::string_view(status.message())));
}

}  // namespace wyvern
