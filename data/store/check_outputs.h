// Keeps a command from replacing files that are not its own.
#ifndef WYVERN_DATA_STORE_CHECK_OUTPUTS_H_
#define WYVERN_DATA_STORE_CHECK_OUTPUTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// AlreadyExists if there is a file at `path` which is not `is_ours`, as of `kind`, or which is one
// of `inputs`, under whatever name.
absl::Status CheckOutput(const std::string& path, bool (*is_ours)(const std::string& path),
                         absl::string_view kind, const std::vector<std::string>& inputs);

// CheckOutput of what preparing writes into the folder: train.h5, val.h5 and prepared.json.
absl::Status CheckStoreOutputs(const std::string& dir, const std::vector<std::string>& inputs);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_CHECK_OUTPUTS_H_
