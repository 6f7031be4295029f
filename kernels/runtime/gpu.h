// Which of the host's GPUs this process uses (GPU 0 unless it says otherwise), and its properties.
#ifndef WYVERN_KERNELS_RUNTIME_GPU_H_
#define WYVERN_KERNELS_RUNTIME_GPU_H_

#include <cstdint>
#include <string>

namespace wyvern {

// The properties of a GPU. Kernels choose their path by them, given as a parameter, so that a
// choice can be printed and tested without that GPU.
struct GpuInfo {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int num_sms = 0;
  int64_t shared_bytes_per_block = 0;  // the most that a block may ask for
  int64_t shared_bytes_per_sm = 0;
  int64_t l2_bytes = 0;
  int64_t total_bytes = 0;     // of its memory
  double peak_bf16_flops = 0;  // dense, from the vendor's data sheet; 0 when unknown
  double peak_bandwidth = 0;   // bytes per second between memory and chip: clock times bus width

  // Whether the kernels in the folders sm90/ run on it. Their instructions belong to Hopper alone:
  // later GPUs take the general path.
  bool RunsSm90() const { return major == 9 && minor == 0; }
};

// The properties of the GPU in use, asked for once. Requires CudaAvailable()
// (kernels/runtime/device.h).
const GpuInfo& CurrentGpu();

// The GPU that the meta device stands for: an H200.
const GpuInfo& MetaGpu();

// GPUs that this process sees; 0 without CUDA.
int GpuCount();

// Its address on the PCI bus, the same for every process of the host.
std::string GpuBusId(int index);

// Makes all work run on this GPU. Before the first use of the device.
void UseGpu(int index);

// For a thread that calls the CUDA runtime itself: its calls go to the GPU in use.
void MakeGpuCurrent();

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_GPU_H_
