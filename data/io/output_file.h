// Outputs that are files.
#ifndef WYVERN_DATA_IO_OUTPUT_FILE_H_
#define WYVERN_DATA_IO_OUTPUT_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "data/io/output.h"

namespace wyvern {

// Output::Claim of a file, before the work whose result it gets. InvalidArgument too: `path` is a
// folder, whose name the file could not take.
absl::StatusOr<Output> ClaimFile(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_OUTPUT_FILE_H_
