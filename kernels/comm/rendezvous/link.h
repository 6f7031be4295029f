// A connection of which one does not yet know, or has just learned, who is at its other end.
#ifndef WYVERN_KERNELS_COMM_RENDEZVOUS_LINK_H_
#define WYVERN_KERNELS_COMM_RENDEZVOUS_LINK_H_

#include <poll.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/comm/rendezvous/handshake.h"
#include "kernels/comm/rendezvous/socket.h"

namespace wyvern {

// Ranks tell each other lists of texts.
using Words = std::vector<std::string>;

class Link {
 public:
  // A connection that came to this process.
  Link(Socket socket, Handshake handshake);
  // A connection that this process has begun to make to `to`.
  Link(Socket socket, const SocketAddress& to, Handshake handshake);

  // Sends what is unsent and receives, as far as the socket lets it, up to the end of one message.
  // None: it has not come whole. Errors: those of Handshake::Receive, or the connection broke.
  absl::StatusOr<std::optional<Words>> Advance();
  void Send(const Words& words);  // as far as the socket takes it; Advance or Flush sends the rest
  absl::Status Flush();           // receives nothing

  // The other end has closed the connection, whatever it has sent before.
  bool Closed() const;

  bool proven() const { return handshake_.proven(); }
  bool has_unsent() const { return !unsent_.empty(); }
  const SocketAddress& address() const { return address_; }  // of the other end
  Socket& socket() { return socket_; }
  const Socket& socket() const { return socket_; }

 private:
  friend class PollSet;

  absl::Status FinishConnecting();

  Socket socket_;
  SocketAddress address_;
  Handshake handshake_;
  bool connecting_ = false;
  std::string unsent_;
};

// Waits for any of several sockets.
class PollSet {
 public:
  void Add(const Socket& listener) { Add(listener.fd(), POLLIN); }
  void Add(const Link& link);
  void Add(int fd, short events) { entries_.push_back({.fd = fd, .events = events, .revents = 0}); }
  void Wait(Deadline until);

 private:
  std::vector<pollfd> entries_;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_RENDEZVOUS_LINK_H_
