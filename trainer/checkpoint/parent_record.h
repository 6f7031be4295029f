// Which checkpoint a run began with, as its own checkpoints (meta["parent"]) and its metrics say.
#ifndef WYVERN_TRAINER_CHECKPOINT_PARENT_RECORD_H_
#define WYVERN_TRAINER_CHECKPOINT_PARENT_RECORD_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/read.h"

namespace wyvern {

inline constexpr char kWeightsParent[] = "weights";  // the run took the weights alone
inline constexpr char kBranchParent[] = "branch";    // it continues with all of the state

// {"kind", "path" (absolute), "step", "manifest_crc32"} of a complete checkpoint.
absl::StatusOr<nlohmann::json> ParentRecord(const CheckpointInfo& checkpoint,
                                            const std::string& kind);

// Whether `record` says that a run branches off from `path`: a checkpoint, or the run folder that
// held it, by name; or a copy of that checkpoint elsewhere.
bool IsBranchOf(const nlohmann::json& record, const std::string& path);

// "PATH (step 20, weights alone)", for people; of any JSON that a checkpoint may hold.
std::string DescribeParent(const nlohmann::json& record);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_PARENT_RECORD_H_
