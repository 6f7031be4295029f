#ifndef WYVERN_KERNELS_COMM_NCCL_NCCL_COMMUNICATOR_H_
#define WYVERN_KERNELS_COMM_NCCL_NCCL_COMMUNICATOR_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/comm/communicator.h"

namespace wyvern {

// The group of `host`, in device memory. Its members call this together. Errors, the same on all of
// them: NCCL is not there on one of them, or does not start.
absl::StatusOr<std::unique_ptr<Communicator>> MakeNcclCommunicator(
    std::unique_ptr<Communicator> host);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_NCCL_NCCL_COMMUNICATOR_H_
