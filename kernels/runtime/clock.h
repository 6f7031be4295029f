// The time of a clock that no one sets.
#ifndef WYVERN_KERNELS_RUNTIME_CLOCK_H_
#define WYVERN_KERNELS_RUNTIME_CLOCK_H_

#include <chrono>

namespace wyvern {

// Seconds since some moment, the same one in the whole process: for differences.
inline double MonotonicSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_CLOCK_H_
