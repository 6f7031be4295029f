#include "data/io/unique_name.h"

#include <cstdint>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace wyvern {

std::string UniqueName() {
  std::random_device random;  // the system's
  std::string name;
  for (int i = 0; i < 4; ++i) absl::StrAppendFormat(&name, "%08x", uint32_t{random()});
  return name;
}

}  // namespace wyvern
