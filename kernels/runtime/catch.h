// Turns a library's exception into a status.
#ifndef WYVERN_KERNELS_RUNTIME_CATCH_H_
#define WYVERN_KERNELS_RUNTIME_CATCH_H_

#include <exception>
#include <new>

#include "absl/status/status.h"

namespace wyvern {

// Made once, ahead: when it is wanted, there may be no memory to make it with.
inline const absl::Status& OutOfMemory() {
  static const auto* status = new absl::Status(absl::ResourceExhaustedError("out of memory"));
  return *status;
}

// work()'s status, or that of the exception that it ends with. For the work of a thread, where an
// exception would end the process.
template <typename Work>
absl::Status CatchAll(const Work& work) {
  const absl::Status& out_of_memory = OutOfMemory();
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return out_of_memory;
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  } catch (...) {
    return absl::InternalError("an exception of unknown type");
  }
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_CATCH_H_
