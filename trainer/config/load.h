// Reading and writing RunConfig as YAML.
#ifndef WYVERN_TRAINER_CONFIG_LOAD_H_
#define WYVERN_TRAINER_CONFIG_LOAD_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/config/node.h"
#include "trainer/config/run_config.h"

namespace wyvern {

// The configuration of a YAML file, resolved: run.device and run.precision are not auto any more,
// run.dir is set, and the optional top-level section `cuda`, whose keys override the others when
// the device is CUDA, is merged in. `sets` holds "a.b=c" overrides, which win over both. The error
// lists every unknown, repeated or ill-typed key with file and line, and every fault of Validate().
// The file is judged in both forms, on every machine; overrides in the one that runs. A key that
// loses its effect through what is laid over it (final through schedule.type=constant) is no fault.
absl::StatusOr<RunConfig> LoadRunConfig(const std::string& path,
                                        const std::vector<std::string>& sets = {});

// The same for the text of a file; `origin` stands for its name in messages.
absl::StatusOr<RunConfig> ParseRunConfig(const std::string& yaml, const std::string& origin,
                                         const std::vector<std::string>& sets = {});

// One error of all messages, each once, in their order: "3 errors in the sweep", and then a line
// for each of the first hundred.
absl::Status FaultsError(const std::vector<std::string>& messages, absl::string_view where);

// A tree without the section `cuda`, which goes to `overlay` (null kind: there is none). Appends
// messages.
ConfigNode SplitOverlay(ConfigNode root, ConfigNode* overlay, std::vector<std::string>* messages);

// Takes from `tree` the keys of `below`, on which it was laid, that have an effect there and none
// in the tree.
void DropIdleKeys(const ConfigNode& below, ConfigNode* tree);

// Takes from `tree` the keys of `below` whose rival was laid over them: of train.steps and
// train.tokens, say, a run has one. Both laid over is the user's error, which stays.
void DropRivals(const ConfigNode& below, ConfigNode* tree);

// Reads and validates a tree without overlay, run.device: auto meaning `device` (or, if that is
// unset, what the machine has). Appends "where: key: message" for every fault.
RunConfig ReadRunConfigTree(const ConfigNode& tree, std::optional<Device> device,
                            std::vector<std::string>* messages);

// YAML with every key that the configuration has; ParseRunConfig returns an equal configuration.
std::string ToYaml(const RunConfig& config);
std::string ToYaml(const ModelConfig& config);  // the section `model` alone

// 16 hex digits of ToYaml: equal exactly for equal configurations.
std::string ConfigHash(const RunConfig& config);

// "key: old -> new" for every line in which two configurations differ; keys with their sections. An
// entry of a list that one of them lacks is a line as a whole: "stages[1]: added", or "removed".
std::vector<std::string> Differences(const RunConfig& before, const RunConfig& after);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_LOAD_H_
