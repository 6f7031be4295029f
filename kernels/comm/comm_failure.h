// How a rank ends when it cannot go on without its peers.
#ifndef WYVERN_KERNELS_COMM_COMM_FAILURE_H_
#define WYVERN_KERNELS_COMM_COMM_FAILURE_H_

#include <string>

namespace wyvern {

// How long an operation waits for its peers before the process ends. Default: 600 seconds.
void SetCommTimeout(double seconds);
double CommTimeout();

// What the process is doing, for messages: "step 17". May be set by one thread at a time.
void SetCommActivity(std::string activity);

// Who this process is, for messages: "rank 1 of 4 (node7)".
void SetCommIdentity(std::string identity);

// Called before the process ends, to take the other ranks along (MPI_Abort); it may not return.
void SetCommAbort(void (*abort)());

// Prints "wyvern: <identity>: <activity>: <what>" on stderr and ends the process with exit code 1,
// without running destructors, which could wait for peers. Any thread may call it.
[[noreturn]] void CommFailed(const std::string& what);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_COMM_FAILURE_H_
