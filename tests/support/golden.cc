#include "tests/support/golden.h"

#include <cstdlib>
#include <filesystem>

namespace wyvern {

std::string GoldenFolder() {
  const char* chosen = std::getenv("WYVERN_GOLDEN");
  const std::string folder = chosen != nullptr ? chosen : "../shared/golden";
  return std::filesystem::is_directory(folder) ? folder : "";
}

}  // namespace wyvern
