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
// Other threads are not there in `work`, so nothing that waits for one may be used in it, nor a
// lock that one may hold while this forks. The process is one that neither MPI nor a rendezvous has
// made a rank of several: MPI's libraries keep memory registered with the network's card, which a
// fork takes from one side or the other. CUDA may have begun: `work` does not use it, and fork()
// itself takes care of the allocator and of stdio.
absl::Status RunInProcesses(int count, const std::function<absl::Status(int worker)>& work,
                            const std::function<void()>& idle);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_WORKER_PROCESSES_H_
