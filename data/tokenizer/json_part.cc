#include "data/tokenizer/json_part.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/io/json_members.h"
#include "data/tokenizer/code_points.h"
#include "kernels/runtime/status.h"

namespace wyvern {

absl::Status JsonPart::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(
      absl::StrCat(file_, ": ", path_, path_.empty() ? "" : ": ", what));
}

absl::Status JsonPart::Expected(absl::string_view what) const {
  return Error(absl::StrCat("expected ", what, ", got ", DescribeJson(*value_)));
}

JsonPart JsonPart::At(absl::string_view key) const {
  static const auto* null = new nlohmann::json();
  const std::string path = path_.empty() ? std::string(key) : absl::StrCat(path_, ".", key);
  const std::string name(key);
  const bool there = value_->is_object() && value_->contains(name);
  return JsonPart(there ? (*value_)[name] : *null, file_, path);
}

JsonPart JsonPart::At(size_t index) const {
  return JsonPart((*value_)[index], file_, absl::StrCat(path_, "[", index, "]"));
}

absl::Status JsonPart::CheckKeys(std::initializer_list<absl::string_view> keys) const {
  if (!value_->is_object()) return Expected("an object");
  for (const auto& [key, member] : value_->items()) {
    if (key == "type" || member.is_null()) continue;
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      return At(key).Error("Wyvern does not know this key, which may change the tokens");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> JsonPart::Text() const {
  if (!value_->is_string()) return Expected("a text");
  return value_->get<std::string>();
}

absl::StatusOr<bool> JsonPart::Bool() const {
  if (!value_->is_boolean()) return Expected("true or false");
  return value_->get<bool>();
}

absl::StatusOr<bool> JsonPart::Bool(bool if_null) const {
  if (value_->is_null()) return if_null;
  return Bool();
}

absl::StatusOr<int64_t> JsonPart::Count() const {
  const std::optional<int64_t> number = JsonInteger(*value_);
  if (!number.has_value() || *number < 0) return Expected("an integer from 0");
  return *number;
}

absl::StatusOr<uint32_t> JsonPart::Character() const {
  ASSIGN_OR_RETURN(const std::string text, Text());
  if (text.empty() || static_cast<size_t>(CharacterLength(text[0])) != text.size()) {
    return Expected("one character");
  }
  int length;
  return DecodeCharacter(text.data(), &length);
}

absl::StatusOr<size_t> JsonPart::ListSize() const {
  if (!value_->is_array()) return Expected("a list");
  return value_->size();
}

}  // namespace wyvern
