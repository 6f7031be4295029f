#ifndef WYVERN_TRAINER_RUN_RUN_LOCK_H_
#define WYVERN_TRAINER_RUN_RUN_LOCK_H_

#include <string>

#include "absl/status/statusor.h"
#include "data/io/lock_file.h"

namespace wyvern {

// Keeps a second process from writing into a run folder, as data/io/lock_file.h says: RUN/lock.
// Aborted, if there is another one, with its name.
absl::StatusOr<LockFile> TakeRunLock(const std::string& run_dir);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_RUN_LOCK_H_
