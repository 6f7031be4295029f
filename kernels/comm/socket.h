// Stream sockets with deadlines, for the ranks of a run to meet.
#ifndef WYVERN_KERNELS_COMM_SOCKET_H_
#define WYVERN_KERNELS_COMM_SOCKET_H_

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wyvern {

using Deadline = std::chrono::steady_clock::time_point;
Deadline DeadlineIn(double seconds);
// For poll(): -1 is never returned.
int MillisecondsUntil(Deadline deadline);

// A connected or listening socket that does not block; closed on destruction.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  // On all addresses; port 0: any free one.
  static absl::StatusOr<Socket> Listen(int port);
  // Tries again until someone listens there.
  static absl::StatusOr<Socket> Connect(const std::string& address, int port, Deadline deadline);

  absl::StatusOr<Socket> Accept(Deadline deadline) const;
  absl::Status SendAll(const void* data, size_t num_bytes, Deadline deadline) const;
  absl::Status ReceiveAll(void* data, size_t num_bytes, Deadline deadline) const;

  int fd() const { return fd_; }
  int LocalPort() const;
  std::string PeerAddress() const;  // numeric

 private:
  int fd_ = -1;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_SOCKET_H_
