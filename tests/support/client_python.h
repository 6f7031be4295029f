// The Python that runs the scripts of tests/clients.
#ifndef WYVERN_TESTS_SUPPORT_CLIENT_PYTHON_H_
#define WYVERN_TESTS_SUPPORT_CLIENT_PYTHON_H_

#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"

namespace wyvern {

inline std::string ClientPython() {
  if (const char* chosen = std::getenv("WYVERN_PYTHON"); chosen != nullptr) return chosen;
  const std::string installed = "build/clients/bin/python";
  return std::filesystem::exists(installed) ? installed : "python3";
}

// Why a script that needs this package cannot run; empty if it can.
inline std::string Lacks(const std::string& package) {
  const std::string command =
      absl::StrCat(ClientPython(), " -c 'import ", package, "' 2>/dev/null");
  if (std::system(command.c_str()) == 0) return "";
  return absl::StrCat(ClientPython(), " has no ", package, ", which tests/clients/install brings");
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_SUPPORT_CLIENT_PYTHON_H_
