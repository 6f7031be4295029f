// The model configuration as JSON: in checkpoints, and for comparison.
#ifndef WYVERN_TRAINER_CONFIG_MODEL_JSON_H_
#define WYVERN_TRAINER_CONFIG_MODEL_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "layers/model_config.h"

namespace wyvern {

// Every key, defaults included; a mixer is an object with "type" (TypeName) and its own keys.
nlohmann::json ModelConfigToJson(const ModelConfig& config);

// The inverse. Strict: an unknown, missing or mistyped key is InvalidArgument that names it, and so
// is a configuration that does not validate.
absl::StatusOr<ModelConfig> ModelConfigFromJson(const nlohmann::json& json);

// "`path`.key: expected ..., found ..." for the first key, in sorted order, where the two differ;
// empty when they are equal.
std::string FirstDifference(const nlohmann::json& expected, const nlohmann::json& found,
                            const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_MODEL_JSON_H_
