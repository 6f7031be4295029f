#ifndef WYVERN_KERNELS_COMM_VERSIONS_H_
#define WYVERN_KERNELS_COMM_VERSIONS_H_

#include <string>
#include <utility>
#include <vector>

#include "kernels/runtime/device.h"

namespace wyvern {

// Names and versions of the libraries that a run on `device` finds on this host and shares with its
// peers: MPI, where it started this process; on CUDA the driver, the runtime, NCCL and cuDNN.
// "none" where one cannot be found.
std::vector<std::pair<std::string, std::string>> LibraryVersions(Device device);

// The driver's version in the text of /proc/driver/nvidia/version; empty if it is not there.
std::string NvidiaDriverVersion(const std::string& text);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_VERSIONS_H_
