#include "kernels/comm/rendezvous/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

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

absl::StatusOr<std::vector<SocketAddress>> Look(const std::string& host, int port, int flags) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    if (a->ai_family == AF_INET || a->ai_family == AF_INET6) {
      addresses.emplace_back(a->ai_addr, a->ai_addrlen);
    }
  }
  freeaddrinfo(found);
  if (addresses.empty()) return absl::UnavailableError("no address of it is known");
  return addresses;
}

absl::StatusOr<Socket> BindAndListen(Socket s, const SocketAddress& address) {
  // A port that a connection of an earlier run still has is free.
  const int on = 1;
  setsockopt(s.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(s.fd(), address.data(), address.length()) != 0 || listen(s.fd(), SOMAXCONN) != 0) {
    const std::string message =
        absl::StrCat("cannot listen at ", address.Text(), ": ", std::strerror(errno));
    if (errno == EADDRINUSE) return absl::AlreadyExistsError(message);
    if (errno == EADDRNOTAVAIL) return absl::NotFoundError(message);
    return absl::UnavailableError(message);
  }
  Prepare(s.fd());
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

SocketAddress::SocketAddress(const sockaddr* address, size_t length)
    : length_(static_cast<socklen_t>(std::min(length, sizeof(storage_)))) {
  std::memcpy(&storage_, address, length_);
  if (family() != AF_INET6) return;
  // An IPv4 peer of a socket for both kinds.
  const sockaddr_in6 six = storage_.six;
  if (!IN6_IS_ADDR_V4MAPPED(&six.sin6_addr)) return;
  storage_ = {};
  storage_.four.sin_family = AF_INET;
  storage_.four.sin_port = six.sin6_port;
  std::memcpy(&storage_.four.sin_addr, six.sin6_addr.s6_addr + 12, sizeof(in_addr));
  length_ = sizeof(sockaddr_in);
}

std::optional<SocketAddress> SocketAddress::FromText(const std::string& text, int port) {
  const bool brackets = text.size() > 2 && text.front() == '[' && text.back() == ']';
  const auto found = Look(brackets ? text.substr(1, text.size() - 2) : text, port, AI_NUMERICHOST);
  if (!found.ok()) return std::nullopt;
  return found->front();
}

absl::StatusOr<std::vector<SocketAddress>> SocketAddress::Resolve(const std::string& name,
                                                                  int port) {
  return Look(name, port, 0);
}

int SocketAddress::port() const {
  return ntohs(family() == AF_INET6 ? storage_.six.sin6_port : storage_.four.sin_port);
}

void SocketAddress::set_port(int port) {
  const uint16_t value = htons(static_cast<uint16_t>(port));
  if (family() == AF_INET6) {
    storage_.six.sin6_port = value;
  } else {
    storage_.four.sin_port = value;
  }
}

bool SocketAddress::IsLoopback() const {
  if (family() == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&storage_.six.sin6_addr);
  return ntohl(storage_.four.sin_addr.s_addr) >> 24 == 127;
}

bool SocketAddress::IsUnspecified() const {
  if (family() == AF_INET6) return IN6_IS_ADDR_UNSPECIFIED(&storage_.six.sin6_addr);
  return storage_.four.sin_addr.s_addr == htonl(INADDR_ANY);
}

bool SocketAddress::IsOfMany() const {
  if (family() == AF_INET6) return IN6_IS_ADDR_MULTICAST(&storage_.six.sin6_addr);
  const uint32_t address = ntohl(storage_.four.sin_addr.s_addr);
  return IN_MULTICAST(address) || address == INADDR_BROADCAST;
}

bool SocketAddress::IsLinkLocal() const {
  return family() == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&storage_.six.sin6_addr);
}

unsigned SocketAddress::scope() const {
  return family() == AF_INET6 ? storage_.six.sin6_scope_id : 0;
}

void SocketAddress::set_scope(unsigned scope) {
  if (family() == AF_INET6) storage_.six.sin6_scope_id = scope;
}

std::string SocketAddress::Host() const {
  char name[NI_MAXHOST] = "";
  getnameinfo(data(), length_, name, sizeof(name), nullptr, 0, NI_NUMERICHOST);
  return name;
}

std::string SocketAddress::Text() const {
  return family() == AF_INET6 ? absl::StrCat("[", Host(), "]:", port())
                              : absl::StrCat(Host(), ":", port());
}

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<Socket> Socket::Listen(const SocketAddress& address) {
  Socket s(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (s.fd() < 0) return Failed("socket");
  if (address.family() == AF_INET6) {
    const int on = 1;
    setsockopt(s.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  }
  return BindAndListen(std::move(s), address);
}

absl::StatusOr<Socket> Socket::Listen(int port) {
  Socket both(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int off = 0;
  if (both.fd() >= 0 && setsockopt(both.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0) {
    absl::StatusOr<Socket> s = BindAndListen(std::move(both), *SocketAddress::FromText("::", port));
    if (s.ok() || absl::IsAlreadyExists(s.status())) return s;
  }
  return Listen(*SocketAddress::FromText("0.0.0.0", port));
}

absl::StatusOr<Socket> Socket::StartConnect(const SocketAddress& to) {
  Socket s(socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (s.fd() >= 0) Prepare(s.fd());
  if (s.fd() >= 0 && (connect(s.fd(), to.data(), to.length()) == 0 || errno == EINPROGRESS)) {
    return s;
  }
  // No such kind of address here, or one that stands for many hosts.
  const bool never = errno == EAFNOSUPPORT || errno == EACCES || errno == EINVAL;
  const std::string message = absl::StrCat("connect: ", std::strerror(errno));
  return never ? absl::FailedPreconditionError(message) : absl::UnavailableError(message);
}

absl::Status Socket::ConnectError() const {
  int error = 0;
  socklen_t length = sizeof(error);
  getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("connect: ", std::strerror(error)));
}

absl::StatusOr<std::optional<Socket>> Socket::Accept() const {
  for (;;) {
    Socket s(accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
    if (s.fd() >= 0) {
      Prepare(s.fd());
      return std::optional<Socket>(std::move(s));
    }
    if (errno == EAGAIN) return std::optional<Socket>();
    // Errors of the network that the connection met are not this socket's.
    if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO || errno == ENETDOWN ||
        errno == EHOSTUNREACH || errno == ENETUNREACH) {
      continue;
    }
    return Failed("accept");
  }
}

SocketAddress Socket::LocalAddress() const {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length);
  return SocketAddress(reinterpret_cast<sockaddr*>(&address), length);
}

SocketAddress Socket::PeerAddress() const {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  getpeername(fd_, reinterpret_cast<sockaddr*>(&address), &length);
  return SocketAddress(reinterpret_cast<sockaddr*>(&address), length);
}

}  // namespace wyvern
