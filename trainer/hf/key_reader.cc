#include "trainer/hf/key_reader.h"

#include "absl/strings/str_cat.h"
#include "data/io/json_members.h"

namespace wyvern {

KeyReader::KeyReader(const nlohmann::json& object, std::string prefix, KeyFindings* findings)
    : object_(object), prefix_(std::move(prefix)), findings_(findings) {}

KeyReader KeyReader::Inner(const nlohmann::json& object, std::string prefix) const {
  return KeyReader(object, absl::StrCat(prefix_, prefix), findings_);
}

const nlohmann::json* KeyReader::Find(const char* key) {
  asked_.insert(key);
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool KeyReader::Has(const char* key) { return Find(key) != nullptr; }

bool KeyReader::IsNull(const char* key) {
  asked_.insert(key);
  const auto it = object_.find(key);
  return it != object_.end() && it->is_null();
}

void KeyReader::Int(const char* key, int64_t* value) {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  const std::optional<int64_t> integer = JsonInteger(*found);
  if (!integer.has_value()) {
    Fault(key, absl::StrCat("expected an integer, got ", DescribeJson(*found)));
    return;
  }
  *value = *integer;
}

void KeyReader::Int(const char* key, std::optional<int64_t>* value) {
  if (!Has(key)) return;
  int64_t read = 0;
  Int(key, &read);
  *value = read;
}

void KeyReader::Count(const char* key, int64_t* value) {
  if (!Has(key)) return;
  int64_t read = 1;
  Int(key, &read);
  if (read < 1) {
    Fault(key, absl::StrCat("expected a positive number, got ", read));
    return;
  }
  *value = read;
}

void KeyReader::Real(const char* key, double* value) {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_number()) {
    Fault(key, absl::StrCat("expected a number, got ", DescribeJson(*found)));
    return;
  }
  *value = found->get<double>();
}

void KeyReader::Real(const char* key, std::optional<double>* value) {
  if (!Has(key)) return;
  double read = 0;
  Real(key, &read);
  *value = read;
}

void KeyReader::Bool(const char* key, bool* value) {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_boolean()) {
    Fault(key, absl::StrCat("expected true or false, got ", DescribeJson(*found)));
    return;
  }
  *value = found->get<bool>();
}

void KeyReader::String(const char* key, std::string* value) {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_string()) {
    Fault(key, absl::StrCat("expected a string, got ", DescribeJson(*found)));
    return;
  }
  *value = found->get<std::string>();
}

const nlohmann::json& KeyReader::Json(const char* key) {
  static const nlohmann::json null;
  const nlohmann::json* found = Find(key);
  return found == nullptr ? null : *found;
}

void KeyReader::Ignore(std::initializer_list<const char*> keys) {
  asked_.insert(keys.begin(), keys.end());
}

void KeyReader::Only(const char* key, const nlohmann::json& only, const char* reason) {
  const nlohmann::json* found = Find(key);
  if (found == nullptr || *found == only) return;
  Fault(key, absl::StrCat(DescribeJson(*found), " is not supported: ", reason));
}

void KeyReader::Fault(const char* key, const std::string& what) {
  findings_->faults.push_back(absl::StrCat(prefix_, key, ": ", what));
}

std::vector<std::string> KeyReader::NoteUnknown() {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : object_.items()) {
    if (asked_.count(key) == 0) unknown.push_back(absl::StrCat(prefix_, key));
  }
  findings_->unknown.insert(findings_->unknown.end(), unknown.begin(), unknown.end());
  return unknown;
}

}  // namespace wyvern
