// NCCL, opened at run time: only runs on several GPUs need it.
#ifndef WYVERN_KERNELS_COMM_NCCL_NCCL_LIBRARY_H_
#define WYVERN_KERNELS_COMM_NCCL_NCCL_LIBRARY_H_

#include <nccl.h>

#include "absl/status/status.h"

namespace wyvern {

struct NcclLibrary {
  decltype(&ncclGetErrorString) GetErrorString = nullptr;
  decltype(&ncclGetLastError) GetLastError = nullptr;
  decltype(&ncclGetVersion) GetVersion = nullptr;
  decltype(&ncclGetUniqueId) GetUniqueId = nullptr;
  decltype(&ncclCommInitRankConfig) CommInitRankConfig = nullptr;
  decltype(&ncclCommDestroy) CommDestroy = nullptr;
  decltype(&ncclCommGetAsyncError) CommGetAsyncError = nullptr;
  decltype(&ncclAllReduce) AllReduce = nullptr;
  decltype(&ncclReduceScatter) ReduceScatter = nullptr;
  decltype(&ncclAllGather) AllGather = nullptr;
  decltype(&ncclBroadcast) Broadcast = nullptr;
  decltype(&ncclSend) Send = nullptr;
  decltype(&ncclRecv) Recv = nullptr;
  decltype(&ncclGroupStart) GroupStart = nullptr;
  decltype(&ncclGroupEnd) GroupEnd = nullptr;
};

// Error: it is not there, or lacks a function.
absl::Status LoadNccl();
// After LoadNccl.
const NcclLibrary& Nccl();

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_NCCL_NCCL_LIBRARY_H_
