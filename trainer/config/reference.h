// The reference of all configuration keys, made from the structs that hold them:
// `wyvern config keys`, and docs/configuration.md.
#ifndef WYVERN_TRAINER_CONFIG_REFERENCE_H_
#define WYVERN_TRAINER_CONFIG_REFERENCE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

struct KeyEntry {
  // "train.steps". Entries of a list are "data.sources[].dir"; the keys of a mixer stand under the
  // name of its type ("model.mixers.kda.num_heads").
  std::string key;
  std::string type;           // "integer"; of a part that holds other keys "section" or "list"
  std::string default_value;  // as YAML; "required": the file must give it
  std::string range, unit;    // as in KeyDoc
  std::string text;           // one sentence

  bool HasKeys() const { return type == "section" || type == "list"; }
};

// Every key, in the order of the file; a part stands before its keys.
std::vector<KeyEntry> ConfigReference();

// Those of one key or part ("train", "model.mixers.kda"). The error names the nearest part.
absl::StatusOr<std::vector<KeyEntry>> ReferenceOf(absl::string_view section);

std::string ReferenceText(const std::vector<KeyEntry>& entries);
nlohmann::json ReferenceJson(const std::vector<KeyEntry>& entries);
// The page docs/configuration.md.
std::string ReferencePage();

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_REFERENCE_H_
