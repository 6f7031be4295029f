// Ends the process when the device or a library call waits for a peer beyond the time-out.
#ifndef WYVERN_KERNELS_COMM_FAILURE_WATCHDOG_H_
#define WYVERN_KERNELS_COMM_FAILURE_WATCHDOG_H_

#include <functional>
#include <memory>
#include <string>

namespace wyvern {

// `poll` is called now and then by a thread of the watchdog, which has made the GPU in use current.
// It need not return: another thread counts the time. Operations are watched in the order of the
// calls.
struct WatchedOperation {
  enum class State {
    kQueued,   // other work comes before it: no time is counted
    kRunning,  // the time counts from the first poll that says so
    kDone,     // it is forgotten
  };
  std::string what;  // "all_reduce over 'shard'"
  // Ends the process itself on an error that it finds (CommFailed, with the given activity: what
  // the process did when the operation was queued).
  std::function<State(const std::string& activity)> poll;
};
void Watch(WatchedOperation operation);

// While it lives, a call of the calling thread is watched.
class WatchedCall {
 public:
  explicit WatchedCall(std::string what);
  ~WatchedCall();
  WatchedCall(const WatchedCall&) = delete;
  WatchedCall& operator=(const WatchedCall&) = delete;

 private:
  struct Flag;
  std::shared_ptr<Flag> flag_;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_FAILURE_WATCHDOG_H_
