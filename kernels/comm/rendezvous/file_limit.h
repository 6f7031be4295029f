#ifndef WYVERN_KERNELS_COMM_RENDEZVOUS_FILE_LIMIT_H_
#define WYVERN_KERNELS_COMM_RENDEZVOUS_FILE_LIMIT_H_

#include <cstdint>

#include "absl/status/status.h"

namespace wyvern {

// Lets this process open the sockets of a run of so many ranks beside its other files: raises the
// soft limit of open files where it is too low. Error: the hard limit is too low.
absl::Status AllowSocketsOf(int64_t num_ranks);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_RENDEZVOUS_FILE_LIMIT_H_
