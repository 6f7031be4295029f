#include "kernels/runtime/event.h"

#ifdef WYVERN_CUDA
#include "kernels/runtime/cuda_check.h"
#endif

namespace wyvern {

#ifdef WYVERN_CUDA

Event::Event(Device device) : device_(device) {
  if (device != Device::kCuda) return;
  ComputeStream();  // chooses the GPU on first use
  cudaEvent_t event;
  CUDA_CHECK(cudaEventCreate(&event));
  event_ = event;
}

Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(static_cast<cudaEvent_t>(event_));
}

void Event::Record() {
  time_ = std::chrono::steady_clock::now();
  if (device_ != Device::kCuda) return;
  CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(event_),
                             static_cast<cudaStream_t>(ComputeStream())));
}

double Event::MillisecondsSince(const Event& start) const {
  if (device_ != Device::kCuda) {
    return std::chrono::duration<double, std::milli>(time_ - start.time_).count();
  }
  float ms = 0;
  CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(event_)));
  CUDA_CHECK(cudaEventElapsedTime(&ms, static_cast<cudaEvent_t>(start.event_),
                                  static_cast<cudaEvent_t>(event_)));
  return ms;
}

#else  // a build without CUDA

Event::Event(Device device) : device_(device) {}

Event::~Event() = default;

void Event::Record() { time_ = std::chrono::steady_clock::now(); }

double Event::MillisecondsSince(const Event& start) const {
  return std::chrono::duration<double, std::milli>(time_ - start.time_).count();
}

#endif

}  // namespace wyvern
