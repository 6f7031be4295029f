#include "kernels/runtime/memory_text.h"

#include "absl/strings/str_format.h"

namespace wyvern {

std::string MemoryText(double num_bytes) {
  constexpr double kMiB = 1024.0 * 1024.0;
  if (num_bytes >= 1024 * kMiB) return absl::StrFormat("%.2f GiB", num_bytes / (1024 * kMiB));
  return absl::StrFormat("%.1f MiB", num_bytes / kMiB);
}

}  // namespace wyvern
