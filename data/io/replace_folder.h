#ifndef WYVERN_DATA_IO_REPLACE_FOLDER_H_
#define WYVERN_DATA_IO_REPLACE_FOLDER_H_

#include <string>

#include "absl/status/status.h"

namespace wyvern {

// Gives the folder `temporary` the name `path`, in the place of what has it, and removes that;
// syncs the folder around. A reader sees the one or the other, or, on a file system that cannot
// exchange two names (NFS), for a moment nothing: what was there is then called `away` until it is
// removed.
absl::Status ReplaceFolder(const std::string& temporary, const std::string& path,
                           const std::string& away);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_REPLACE_FOLDER_H_
