// Which of the host's GPUs this process uses; GPU 0 unless it says otherwise.
#ifndef WYVERN_KERNELS_RUNTIME_GPU_H_
#define WYVERN_KERNELS_RUNTIME_GPU_H_

#include <string>

namespace wyvern {

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
