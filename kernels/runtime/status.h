#ifndef WYVERN_KERNELS_RUNTIME_STATUS_H_
#define WYVERN_KERNELS_RUNTIME_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RETURN_IF_ERROR(expression)                \
  do {                                             \
    ::absl::Status wyvern_status = (expression);   \
    if (!wyvern_status.ok()) return wyvern_status; \
  } while (false)

#define WYVERN_CONCAT_INNER(a, b) a##b
#define WYVERN_CONCAT(a, b) WYVERN_CONCAT_INNER(a, b)
#define WYVERN_ASSIGN_OR_RETURN(result, target, expression) \
  auto result = (expression);                               \
  if (!result.ok()) return std::move(result).status();      \
  target = std::move(result).value()

// ASSIGN_OR_RETURN(auto x, F()): x is F()'s value, or the function returns F()'s status.
#define ASSIGN_OR_RETURN(target, expression) \
  WYVERN_ASSIGN_OR_RETURN(WYVERN_CONCAT(wyvern_result_, __LINE__), target, expression)

#endif  // WYVERN_KERNELS_RUNTIME_STATUS_H_
