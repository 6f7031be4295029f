#include "kernels/comm/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

absl::Status Failed(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

void Prepare(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

absl::Status WaitFor(int fd, short events, Deadline deadline) {
  pollfd entry = {.fd = fd, .events = events, .revents = 0};
  for (;;) {
    const int ready = poll(&entry, 1, MillisecondsUntil(deadline));
    if (ready > 0) return absl::OkStatus();
    if (ready == 0) return absl::DeadlineExceededError("no answer in time");
    if (errno != EINTR) return Failed("poll");
  }
}

// One attempt.
absl::StatusOr<Socket> TryConnect(const addrinfo& to, Deadline deadline) {
  Socket s(socket(to.ai_family, SOCK_STREAM | SOCK_CLOEXEC, to.ai_protocol));
  if (s.fd() < 0) return Failed("socket");
  Prepare(s.fd());
  if (connect(s.fd(), to.ai_addr, to.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return Failed("connect");
    RETURN_IF_ERROR(WaitFor(s.fd(), POLLOUT, deadline));
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(s.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
      errno = error;
      return Failed("connect");
    }
  }
  return s;
}

}  // namespace

Deadline DeadlineIn(double seconds) {
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(
             std::chrono::duration<double>(seconds));
}

int MillisecondsUntil(Deadline deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
}

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<Socket> Socket::Listen(int port) {
  Socket s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (s.fd() < 0) return Failed("socket");
  const int on = 1;
  setsockopt(s.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(s.fd(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(s.fd(), SOMAXCONN) != 0) {
    return Failed(absl::StrCat("cannot listen on port ", port));
  }
  Prepare(s.fd());
  return s;
}

absl::StatusOr<Socket> Socket::Connect(const std::string& address, int port, Deadline deadline) {
  absl::Status last = absl::DeadlineExceededError("no time left");
  do {
    addrinfo hints = {};
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    // A name may become known only when its host is up.
    const int error = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (error != 0) {
      last = absl::UnavailableError(gai_strerror(error));
    } else {
      absl::StatusOr<Socket> socket = TryConnect(*found, deadline);
      freeaddrinfo(found);
      if (socket.ok()) return socket;
      last = socket.status();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  } while (std::chrono::steady_clock::now() < deadline);
  return absl::UnavailableError(
      absl::StrCat("cannot reach ", address, ":", port, ": ", absl::string_view(last.message())));
}

absl::StatusOr<Socket> Socket::Accept(Deadline deadline) const {
  for (;;) {
    Socket s(accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
    if (s.fd() >= 0) {
      Prepare(s.fd());
      return s;
    }
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) return Failed("accept");
    RETURN_IF_ERROR(WaitFor(fd_, POLLIN, deadline));
  }
}

absl::Status Socket::SendAll(const void* data, size_t num_bytes, Deadline deadline) const {
  const char* from = static_cast<const char*>(data);
  while (num_bytes > 0) {
    const ssize_t sent = send(fd_, from, num_bytes, MSG_NOSIGNAL);
    if (sent > 0) {
      from += sent;
      num_bytes -= static_cast<size_t>(sent);
    } else if (errno == EAGAIN || errno == EINTR) {
      RETURN_IF_ERROR(WaitFor(fd_, POLLOUT, deadline));
    } else {
      return Failed("send");
    }
  }
  return absl::OkStatus();
}

absl::Status Socket::ReceiveAll(void* data, size_t num_bytes, Deadline deadline) const {
  char* to = static_cast<char*>(data);
  while (num_bytes > 0) {
    const ssize_t received = recv(fd_, to, num_bytes, 0);
    if (received > 0) {
      to += received;
      num_bytes -= static_cast<size_t>(received);
    } else if (received == 0) {
      return absl::UnavailableError("the other side closed the connection");
    } else if (errno == EAGAIN || errno == EINTR) {
      RETURN_IF_ERROR(WaitFor(fd_, POLLIN, deadline));
    } else {
      return Failed("receive");
    }
  }
  return absl::OkStatus();
}

int Socket::LocalPort() const {
  sockaddr_in address = {};
  socklen_t length = sizeof(address);
  getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

std::string Socket::PeerAddress() const {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  char name[NI_MAXHOST] = "";
  getpeername(fd_, reinterpret_cast<sockaddr*>(&address), &length);
  getnameinfo(reinterpret_cast<sockaddr*>(&address), length, name, sizeof(name), nullptr, 0,
              NI_NUMERICHOST);
  return name;
}

}  // namespace wyvern
