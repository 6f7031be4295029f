#include "kernels/comm/nccl/nccl_library.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

NcclLibrary library;

absl::Status Load() {
  void* handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("several GPUs need NCCL: ", dlerror(),
                     "; install libnccl2, or add the folder that holds it to LD_LIBRARY_PATH"));
  }
  absl::Status status;
  const auto load = [&](const char* name, auto* function) {
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(dlsym(handle, name));
    if (*function == nullptr && status.ok()) {
      status = absl::FailedPreconditionError(
          absl::StrCat("libnccl.so.2 has no ", name, "; it is too old"));
    }
  };
  load("ncclGetErrorString", &library.GetErrorString);
  load("ncclGetLastError", &library.GetLastError);
  load("ncclGetVersion", &library.GetVersion);
  load("ncclGetUniqueId", &library.GetUniqueId);
  load("ncclCommInitRankConfig", &library.CommInitRankConfig);
  load("ncclCommDestroy", &library.CommDestroy);
  load("ncclCommGetAsyncError", &library.CommGetAsyncError);
  load("ncclAllReduce", &library.AllReduce);
  load("ncclReduceScatter", &library.ReduceScatter);
  load("ncclAllGather", &library.AllGather);
  load("ncclBroadcast", &library.Broadcast);
  load("ncclSend", &library.Send);
  load("ncclRecv", &library.Recv);
  load("ncclGroupStart", &library.GroupStart);
  load("ncclGroupEnd", &library.GroupEnd);
  return status;
}

}  // namespace

absl::Status LoadNccl() {
  static const absl::Status status = Load();
  return status;
}

const NcclLibrary& Nccl() { return library; }

}  // namespace wyvern
