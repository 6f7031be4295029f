#include "kernels/comm/rendezvous/link.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// No text of a rank has it.
constexpr char kSeparator = '\0';

}  // namespace

Link::Link(Socket socket, Handshake handshake)
    : socket_(std::move(socket)),
      address_(socket_.PeerAddress()),
      handshake_(std::move(handshake)) {}

Link::Link(Socket socket, const SocketAddress& to, Handshake handshake)
    : socket_(std::move(socket)),
      address_(to),
      handshake_(std::move(handshake)),
      connecting_(true) {}

absl::Status Link::FinishConnecting() {
  pollfd entry = {.fd = socket_.fd(), .events = POLLOUT, .revents = 0};
  if (poll(&entry, 1, 0) <= 0) return absl::OkStatus();
  RETURN_IF_ERROR(socket_.ConnectError());
  // On one host a connection to a free port can meet itself, and would then keep the port.
  if (socket_.LocalAddress().Text() == socket_.PeerAddress().Text()) {
    return absl::UnavailableError("connect: nobody listens there yet");
  }
  connecting_ = false;
  return absl::OkStatus();
}

absl::Status Link::Flush() {
  absl::StrAppend(&unsent_, handshake_.TakeOutput());
  while (!unsent_.empty()) {
    const ssize_t sent = send(socket_.fd(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      unsent_.erase(0, static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return absl::UnavailableError(absl::StrCat("the connection broke: ", std::strerror(errno)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Words>> Link::Advance() {
  if (connecting_) RETURN_IF_ERROR(FinishConnecting());
  if (connecting_) return std::nullopt;
  for (;;) {
    RETURN_IF_ERROR(Flush());
    if (const std::optional<std::string> frame = handshake_.TakeFrame()) {
      return std::optional<Words>(absl::StrSplit(*frame, kSeparator));
    }
    char buffer[16 << 10];
    const ssize_t received =
        recv(socket_.fd(), buffer, std::min(sizeof(buffer), handshake_.Wanted()), 0);
    if (received == 0) return absl::UnavailableError("it closed the connection");
    if (received < 0 && errno == EAGAIN) return std::nullopt;
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) {
      return absl::UnavailableError(absl::StrCat("the connection broke: ", std::strerror(errno)));
    }
    const absl::Status status =
        handshake_.Receive(absl::string_view(buffer, static_cast<size_t>(received)));
    if (!status.ok()) {
      Flush().IgnoreError();
      return status;
    }
  }
}

bool Link::Closed() const {
  pollfd entry = {.fd = socket_.fd(), .events = POLLRDHUP, .revents = 0};
  return poll(&entry, 1, 0) > 0;
}

void Link::Send(const Words& words) {
  handshake_.Send(absl::StrJoin(words, absl::string_view(&kSeparator, 1)));
  Flush().IgnoreError();  // Advance finds it again
}

void PollSet::Add(const Link& link) {
  const bool writes = link.connecting_ || link.has_unsent();
  Add(link.socket().fd(), static_cast<short>(link.connecting_ ? POLLOUT
                                             : writes         ? POLLIN | POLLOUT
                                                              : POLLIN));
}

void PollSet::Wait(Deadline until) {
  // Up to the end of the millisecond: not before it is time to look.
  poll(entries_.data(), entries_.size(), MillisecondsUntil(until) + 1);
  entries_.clear();
}

}  // namespace wyvern
