// Work that is divided among processes of this machine.
#ifndef WYVERN_DATA_STORE_WORKER_PROCESSES_H_
#define WYVERN_DATA_STORE_WORKER_PROCESSES_H_

#include <functional>

#include "absl/status/status.h"

namespace wyvern {

// Runs work(0), ..., work(count - 1), each in a process forked from this one, and waits for all of
// them; calls `idle` a few times a second meanwhile. The first that fails ends the others, and its
// error is returned; so is that of a process which a signal ended. The processes end with this one.
//
// Only what the calling thread holds may be used in `work`: other threads are not there.
absl::Status RunInProcesses(int count, const std::function<absl::Status(int worker)>& work,
                            const std::function<void()>& idle);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_WORKER_PROCESSES_H_
