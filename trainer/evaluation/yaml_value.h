// Values of a YAML file with the types that PyYAML gives them, by which lm-eval reads its tasks.
#ifndef WYVERN_TRAINER_EVALUATION_YAML_VALUE_H_
#define WYVERN_TRAINER_EVALUATION_YAML_VALUE_H_

#include <string>

#include "absl/status/statusor.h"
#include "data/chat/jinja_value.h"
#include "trainer/config/node.h"

namespace wyvern {

// A plain scalar is None, a bool (also yes, no, on and off), an integer, a number with a decimal
// point, or a text. Errors name the line: a tag, which stands for code in Python (!function), and
// plain scalars that PyYAML takes for other numbers or for dates.
absl::StatusOr<jinja::Value> YamlValue(const ConfigNode& node);

// InvalidArgument "FILE:LINE: KEY: WHAT".
absl::Status TaskFault(const ConfigNode& node, const std::string& key, const std::string& what);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_YAML_VALUE_H_
