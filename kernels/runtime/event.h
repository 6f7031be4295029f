#ifndef WYVERN_KERNELS_RUNTIME_EVENT_H_
#define WYVERN_KERNELS_RUNTIME_EVENT_H_

#include <chrono>

#include "kernels/runtime/device.h"

namespace wyvern {

// A point in the work of a device: on CUDA a place in the compute stream's queue, on the CPU, where
// work is done when a call returns, the time of the call.
class Event {
 public:
  explicit Event(Device device);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void Record();
  // Waits until this event has happened. Both recorded, `start` first, on the same device.
  double MillisecondsSince(const Event& start) const;

 private:
  Device device_;
  void* event_ = nullptr;  // cudaEvent_t
  std::chrono::steady_clock::time_point time_;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_EVENT_H_
