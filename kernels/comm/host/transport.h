// Messages between the ranks of a run, in host memory; collectives are built on them.
#ifndef WYVERN_KERNELS_COMM_HOST_TRANSPORT_H_
#define WYVERN_KERNELS_COMM_HOST_TRANSPORT_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace wyvern {

class Transport {
 public:
  virtual ~Transport() = default;

  struct Message {
    int peer = 0;  // rank in the run
    void* data = nullptr;
    size_t num_bytes = 0;
  };
  // Sends one message and receives another at the same time; either may have no bytes, and then
  // there is none. Messages between two ranks arrive in the order in which they were sent. `what`
  // names the operation when a peer does not answer (comm_failure.h).
  virtual void Exchange(const Message& send, const Message& receive, const std::string& what) = 0;

  // A second channel carries short messages while a rank computes or exchanges others. Each channel
  // keeps its own order. Post sends one and returns at once.
  virtual void Post(const Message& message, const std::string& what) = 0;
  // Receives the next message that `message.peer` has posted, of exactly so many bytes. Without
  // `wait` it returns false where that has not come.
  virtual bool Take(const Message& message, bool wait, const std::string& what) = 0;

  virtual int rank() const = 0;
  virtual int size() const = 0;

 protected:
  Transport() = default;
};

// "no answer from rank 3 within 600 s ...", as Exchange fails.
[[noreturn]] void PeerFailed(const std::string& what, int peer, const std::string& why);
std::string TimeoutText();

// A transport over MPI, which it initialises. Error: a build without MPI.
absl::StatusOr<std::unique_ptr<Transport>> MakeMpiTransport();

// "Open MPI v4.1.4"; empty if MPI did not start this process, or is not in this build.
std::string MpiVersion();

// All ranks of a run meet at rank 0's address and connect to each other (rendezvous.h).
struct TcpMeeting;
absl::StatusOr<std::unique_ptr<Transport>> MakeTcpTransport(const TcpMeeting& meeting);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_HOST_TRANSPORT_H_
