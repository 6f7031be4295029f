#include "trainer/config/model_json.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/json_members.h"
#include "kernels/runtime/status.h"
#include "trainer/config/fields.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

// Keys that older files lack, and the value that each would have had there.
const std::map<std::string, Json>& AddedKeys() {
  static const auto* keys = new std::map<std::string, Json>{
      {"l2_norm_eps", 1e-6},        {"mlp", true},
      {"output_gate_bias", true},   {"output_gate_scope", "channel"},
      {"output_norm_eps", nullptr}, {"post_norm", false},
      {"qk_norm_scope", "head"},    {"rotary_dim", 0},
      {"shared_gate", false},       {"zero_centered_norms", false}};
  return *keys;
}

// Unlike YAML, JSON also has the keys without effect; only what an older file would lack, and has
// no effect, is left out.
class Writer : public ConfigVisitor {
 public:
  Json json = Json::object();

  void Value(const std::string& key, int64_t* value) override { Put(key, *value); }
  void Value(const std::string& key, uint64_t* value) override { Put(key, *value); }
  void Value(const std::string& key, double* value) override { Put(key, *value); }
  void Value(const std::string& key, bool* value) override { Put(key, *value); }
  void Value(const std::string& key, std::string* value) override { Put(key, *value); }
  void Value(const std::string& key, std::optional<double>* value) override {
    Put(key, value->has_value() ? Json(**value) : Json());
  }
  void Value(const std::string& key, std::vector<std::string>* value) override { Put(key, *value); }
  void Value(const std::string& key, std::vector<int64_t>* value) override { Put(key, *value); }
  void CountOr(const std::string&, const std::string& key, int64_t* value) override {
    Value(key, value);
  }
  void Choice(const std::string& key, const std::vector<std::string>& names, int* index) override {
    Put(key, names[static_cast<size_t>(*index)]);
  }
  void Section(const std::string& key, const Body& body) override {
    Writer section;
    body(section);
    Put(key, std::move(section.json));
  }
  bool Has(const std::string&, bool held) override { return held; }
  void List(const std::string& key, const std::function<size_t()>&,
            const std::function<void(size_t)>&,
            const std::function<void(size_t, ConfigVisitor&)>&) override {
    CHECK(false, key, ": a model has no list of sections");
  }
  void Names(const std::string& key, const std::vector<std::string>& names,
             const std::function<void(const std::string&, ConfigVisitor&)>& body) override {
    Section(key, [&](ConfigVisitor& section) {
      for (const std::string& name : names) body(name, section);
    });
  }
  void Only(bool, const std::string&, const Body& body) override { body(*this); }

 private:
  void Put(const std::string& key, Json value) {
    const auto added = AddedKeys().find(key);
    if (added == AddedKeys().end() || added->second != value) json[key] = std::move(value);
  }
};

// Keeps the first error; what follows it is skipped.
class Reader : public ConfigVisitor {
 public:
  Reader(const Json& json, std::string path) : json_(json), path_(std::move(path)) {}

  // Call last.
  absl::Status Finish() const {
    if (!status_.ok()) return status_;
    for (const auto& [key, value] : json_.items()) {
      if (known_.count(key) == 0) {
        return absl::InvalidArgumentError(absl::StrCat(path_, ".", key, ": unknown key"));
      }
    }
    return absl::OkStatus();
  }

  void Value(const std::string& key, int64_t* value) override {
    const Json* found = Find(key);
    if (found == nullptr) return;
    const std::optional<int64_t> integer = JsonInteger(*found);
    if (!integer.has_value()) return Expected(key, "an integer", *found);
    *value = *integer;
  }
  void Value(const std::string& key, uint64_t* value) override {
    Get(key, "an integer of at least 0", &Json::is_number_unsigned, value);
  }
  void Value(const std::string& key, double* value) override {
    Get(key, "a number", &Json::is_number, value);
  }
  void Value(const std::string& key, bool* value) override {
    Get(key, "true or false", &Json::is_boolean, value);
  }
  void Value(const std::string& key, std::string* value) override {
    Get(key, "a string", &Json::is_string, value);
  }
  void Value(const std::string& key, std::optional<double>* value) override {
    const Json* found = Find(key);
    if (found == nullptr) return;
    value->reset();
    if (!found->is_null()) Get(key, "a number or null", &Json::is_number, &value->emplace());
  }
  void Value(const std::string& key, std::vector<std::string>* value) override {
    const Json* found = Find(key);
    if (found == nullptr) return;
    const auto fits = [](const Json& entry) { return entry.is_string(); };
    if (!found->is_array() || !std::all_of(found->begin(), found->end(), fits)) {
      return Expected(key, "a list of names", *found);
    }
    *value = found->get<std::vector<std::string>>();
  }
  void Value(const std::string& key, std::vector<int64_t>* value) override {
    const Json* found = Find(key);
    if (found == nullptr) return;
    const auto fits = [](const Json& entry) { return JsonInteger(entry).has_value(); };
    if (!found->is_array() || !std::all_of(found->begin(), found->end(), fits)) {
      return Expected(key, "a list of integers", *found);
    }
    *value = found->get<std::vector<int64_t>>();
  }
  void CountOr(const std::string&, const std::string& key, int64_t* value) override {
    Value(key, value);
  }
  void Choice(const std::string& key, const std::vector<std::string>& names, int* index) override {
    const Json* found = Find(key);
    if (found == nullptr) return;
    const std::string text = found->is_string() ? found->get<std::string>() : std::string();
    const auto name = std::find(names.begin(), names.end(), text);
    if (!found->is_string() || name == names.end()) {
      const std::vector<std::string> first(names.begin(), names.end() - 1);
      return Expected(key, absl::StrCat(absl::StrJoin(first, ", "), " or ", names.back()), *found);
    }
    *index = static_cast<int>(name - names.begin());
  }
  void Section(const std::string& key, const Body& body) override {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_object()) return Expected(key, "an object", *found);
    Reader section(*found, absl::StrCat(path_, ".", key));
    body(section);
    status_ = section.Finish();
  }
  bool Has(const std::string& key, bool) override { return json_.contains(key); }
  void List(const std::string& key, const std::function<size_t()>&,
            const std::function<void(size_t)>&,
            const std::function<void(size_t, ConfigVisitor&)>&) override {
    CHECK(false, key, ": a model has no list of sections");
  }
  void Names(const std::string& key, const std::vector<std::string>&,
             const std::function<void(const std::string&, ConfigVisitor&)>& body) override {
    Section(key, [&](ConfigVisitor& section) {
      for (const auto& [name, value] : json_[key].items()) body(name, section);
    });
  }
  void Only(bool, const std::string&, const Body& body) override { body(*this); }

 private:
  // Null: an error has been met.
  const Json* Find(const std::string& key) {
    known_.insert(key);
    if (!status_.ok()) return nullptr;
    const auto found = json_.find(key);
    if (found != json_.end()) return &*found;
    const auto added = AddedKeys().find(key);
    if (added != AddedKeys().end()) return &added->second;
    status_ = absl::InvalidArgumentError(absl::StrCat(path_, ".", key, ": the key is missing"));
    return nullptr;
  }
  void Expected(const std::string& key, const std::string& what, const Json& found) {
    status_ = absl::DataLossError(
        absl::StrCat(path_, ".", key, ": expected ", what, ", found ", DescribeJson(found)));
  }
  using Is = bool (Json::*)() const noexcept;
  template <typename T>
  void Get(const std::string& key, const char* what, Is is, T* value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!(found->*is)()) return Expected(key, what, *found);
    *value = found->get<T>();
  }

  const Json& json_;
  const std::string path_;
  std::set<std::string> known_;
  absl::Status status_;
};

}  // namespace

Json ModelConfigToJson(const ModelConfig& config) {
  ModelConfig visited = config;
  Writer writer;
  VisitModelConfig(writer, &visited);
  return std::move(writer.json);
}

absl::StatusOr<ModelConfig> ModelConfigFromJson(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("model: expected an object");
  Reader reader(json, "model");
  ModelConfig config;
  VisitModelConfig(reader, &config);
  RETURN_IF_ERROR(reader.Finish());
  const std::vector<std::string> faults = config.Validate();
  if (!faults.empty()) return absl::InvalidArgumentError(absl::StrJoin(faults, "; "));
  return config;
}

std::string FirstDifference(const Json& expected, const Json& found, const std::string& path) {
  if (expected == found) return "";
  if (expected.is_object() && found.is_object()) {
    std::set<std::string> keys;
    for (const auto& [key, value] : expected.items()) keys.insert(key);
    for (const auto& [key, value] : found.items()) keys.insert(key);
    for (const std::string& key : keys) {
      const std::string inner = absl::StrCat(path, ".", key);
      if (!found.contains(key)) {
        return absl::StrCat(inner, ": expected ", DescribeJson(expected[key]), ", found nothing");
      }
      if (!expected.contains(key)) {
        return absl::StrCat(inner, ": expected nothing, found ", DescribeJson(found[key]));
      }
      std::string difference = FirstDifference(expected[key], found[key], inner);
      if (!difference.empty()) return difference;
    }
  }
  return absl::StrCat(path, ": expected ", DescribeJson(expected), ", found ", DescribeJson(found));
}

}  // namespace wyvern
