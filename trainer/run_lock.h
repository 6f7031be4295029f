#ifndef WYVERN_TRAINER_RUN_LOCK_H_
#define WYVERN_TRAINER_RUN_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace wyvern {

// Keeps a second process from writing into a run folder. The lock ends with the process, however
// that ends.
class RunLock {
 public:
  static absl::StatusOr<std::unique_ptr<RunLock>> Take(const std::string& run_dir);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  explicit RunLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_LOCK_H_
