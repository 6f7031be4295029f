#include "kernels/runtime/clock.h"

#include <cstdint>
#include <ctime>

#include "absl/strings/str_format.h"

namespace wyvern {

std::string UtcTime(bool with_milliseconds) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const auto seconds = static_cast<std::time_t>(ms / 1000);
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  char text[32] = {};
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  return with_milliseconds ? absl::StrFormat("%s.%03dZ", text, ms % 1000)
                           : absl::StrFormat("%sZ", text);
}

}  // namespace wyvern
