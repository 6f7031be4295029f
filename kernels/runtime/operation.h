// Names the operation of a thread, for the message of an exception.
#ifndef WYVERN_KERNELS_RUNTIME_OPERATION_H_
#define WYVERN_KERNELS_RUNTIME_OPERATION_H_

#include <string>

namespace wyvern {

// Lives as long as the operation: const Operation reading("reading " + path).
class Operation {
 public:
  explicit Operation(std::string what);
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  ~Operation();

  // The innermost operation of this thread; empty if there is none.
  static std::string Current();
  // The innermost one that the last exception of this thread has ended; empty if there was none.
  static std::string Failed();

 private:
  const int exceptions_;  // in flight when it began
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_OPERATION_H_
