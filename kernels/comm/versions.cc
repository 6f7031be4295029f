#include "kernels/comm/versions.h"

#include <dlfcn.h>

#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "kernels/comm/host/transport.h"
#ifdef WYVERN_CUDA
#include <cuda_runtime.h>

#include "kernels/comm/nccl/nccl_library.h"
#endif

namespace wyvern {
namespace {

#ifdef WYVERN_CUDA

// 13000 -> "13.0".
std::string CudaVersion(int version) {
  return version == 0 ? "none" : absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

std::string CudnnVersion() {
  void* handle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return "none";
  const auto version = reinterpret_cast<size_t (*)()>(dlsym(handle, "cudnnGetVersion"));
  if (version == nullptr) return "none";
  const size_t v = version();  // 91002 -> 9.10.2
  return absl::StrCat(v / 10000, ".", v / 100 % 100, ".", v % 100);
}

std::string NcclVersion() {
  if (!LoadNccl().ok()) return "none";
  int v = 0;  // 22809 -> 2.28.9
  if (Nccl().GetVersion(&v) != ncclSuccess) return "none";
  return absl::StrCat(v / 10000, ".", v / 100 % 100, ".", v % 100);
}

#endif

}  // namespace

std::string NvidiaDriverVersion(const std::string& text) {
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul ..."
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  for (const std::string& word :
       std::vector<std::string>(absl::StrSplit(lines[0], ' ', absl::SkipEmpty()))) {
    const bool numbers = word.find_first_not_of("0123456789.") == std::string::npos;
    if (numbers && word.find('.') != std::string::npos) return word;
  }
  return "";
}

std::vector<std::pair<std::string, std::string>> LibraryVersions(Device device) {
  std::vector<std::pair<std::string, std::string>> versions;
  const std::string mpi = MpiVersion();
  if (!mpi.empty()) versions.emplace_back("MPI", mpi);
  if (device == Device::kCpu) return versions;
#ifdef WYVERN_CUDA
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  std::ifstream file("/proc/driver/nvidia/version");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::string module = NvidiaDriverVersion(text);
  versions.emplace_back("NVIDIA driver", module.empty() ? "unknown" : module);
  versions.emplace_back("CUDA of the driver", CudaVersion(driver));
  versions.emplace_back("CUDA runtime", CudaVersion(runtime));
  versions.emplace_back("NCCL", NcclVersion());
  versions.emplace_back("cuDNN", CudnnVersion());
#endif
  return versions;
}

}  // namespace wyvern
