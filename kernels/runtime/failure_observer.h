#ifndef WYVERN_KERNELS_RUNTIME_FAILURE_OBSERVER_H_
#define WYVERN_KERNELS_RUNTIME_FAILURE_OBSERVER_H_

#include <string>

namespace wyvern {

// Told of messages, on stderr already, after which the process ends: failed checks, memory that is
// not there. Null: nobody.
void SetFailureObserver(void (*observer)(const std::string& message));
void ObserveFailure(const std::string& message);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_FAILURE_OBSERVER_H_
