#ifndef WYVERN_KERNELS_RUNTIME_CLOCK_H_
#define WYVERN_KERNELS_RUNTIME_CLOCK_H_

#include <chrono>
#include <string>

namespace wyvern {

// Seconds since some moment, the same one in the whole process: for differences. No one sets this
// clock.
inline double MonotonicSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The time of day, "2026-11-30T05:52:07Z", or with milliseconds "2026-11-30T05:52:07.481Z".
std::string UtcTime(bool with_milliseconds = false);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_CLOCK_H_
