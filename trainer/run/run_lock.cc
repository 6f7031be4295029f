#include "trainer/run/run_lock.h"

#include "absl/strings/str_cat.h"

namespace wyvern {

absl::StatusOr<LockFile> TakeRunLock(const std::string& run_dir) {
  return LockFile::Take(run_dir + "/lock",
                        absl::StrCat(run_dir, ": another process is training in this run folder"),
                        "wait for it, or set another run.dir");
}

}  // namespace wyvern
