// Addresses and stream sockets of the ranks of a run.
#ifndef WYVERN_KERNELS_COMM_RENDEZVOUS_SOCKET_H_
#define WYVERN_KERNELS_COMM_RENDEZVOUS_SOCKET_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wyvern {

using Deadline = std::chrono::steady_clock::time_point;
Deadline DeadlineIn(double seconds);
// For poll(): -1 is never returned.
int MillisecondsUntil(Deadline deadline);

// An IPv4 or IPv6 address and a port.
class SocketAddress {
 public:
  SocketAddress() = default;
  SocketAddress(const sockaddr* address, size_t length);

  // "10.0.0.1", "::1", "[::1]", "fe80::1%eth0"; none where `text` is a name.
  static std::optional<SocketAddress> FromText(const std::string& text, int port);
  // All that the resolver knows of a name, in its order. May block for long.
  static absl::StatusOr<std::vector<SocketAddress>> Resolve(const std::string& name, int port);

  int family() const { return storage_.any.sa_family; }
  const sockaddr* data() const { return &storage_.any; }
  socklen_t length() const { return length_; }

  int port() const;
  void set_port(int port);
  // Whether the address is this host's own, so that no other host can use it: 127.0.0.0/8, ::1.
  bool IsLoopback() const;
  // 0.0.0.0 and ::; to connect there means loopback, to listen, all addresses.
  bool IsUnspecified() const;
  // No single host's: a multicast or broadcast address.
  bool IsOfMany() const;
  // Whether an IPv6 address belongs to one network interface, whose number differs on every host.
  bool IsLinkLocal() const;
  unsigned scope() const;
  void set_scope(unsigned scope);

  std::string Host() const;  // numeric: "10.0.0.1", "fe80::1%eth0"
  std::string Text() const;  // "10.0.0.1:29500", "[::1]:29500"

 private:
  union Storage {
    sockaddr_in6 six;  // the longest
    sockaddr_in four;
    sockaddr any;
  };

  Storage storage_ = {};
  socklen_t length_ = 0;
};

// A socket that does not block; closed on destruction.
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

  // Port 0: any free one. The code is AlreadyExists where another process listens there, and
  // NotFound where the address is none of this host.
  static absl::StatusOr<Socket> Listen(const SocketAddress& address);
  // On all addresses of this host, those of IPv6 too where it has any.
  static absl::StatusOr<Socket> Listen(int port);

  // Begins to connect; the socket becomes writable when ConnectError() says how that went. The code
  // is FailedPrecondition where it never can go well.
  static absl::StatusOr<Socket> StartConnect(const SocketAddress& to);
  absl::Status ConnectError() const;

  // One connection that waits; none: there is no other.
  absl::StatusOr<std::optional<Socket>> Accept() const;

  int fd() const { return fd_; }
  int LocalPort() const { return LocalAddress().port(); }
  SocketAddress LocalAddress() const;
  SocketAddress PeerAddress() const;

 private:
  int fd_ = -1;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_RENDEZVOUS_SOCKET_H_
