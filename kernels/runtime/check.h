#ifndef WYVERN_KERNELS_RUNTIME_CHECK_H_
#define WYVERN_KERNELS_RUNTIME_CHECK_H_

#include <string>

#include "absl/strings/str_cat.h"

namespace wyvern {

// Prints "file:line: check failed: expression: message" on stderr and aborts. For programmers'
// faults (shapes, types); what the world can break returns absl::Status instead.
[[noreturn]] void CheckFailed(const char* file, int line, const char* expression,
                              const std::string& message);

}  // namespace wyvern

// CHECK(condition, parts...): the parts are joined as by absl::StrCat.
#define CHECK(condition, ...)                                               \
  do {                                                                      \
    if (!(condition)) {                                                     \
      ::wyvern::CheckFailed(__FILE__, __LINE__, #condition,                 \
                            ::absl::StrCat("" __VA_OPT__(, ) __VA_ARGS__)); \
    }                                                                       \
  } while (false)

#endif  // WYVERN_KERNELS_RUNTIME_CHECK_H_
