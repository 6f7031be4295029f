#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/wait_clock.h"
#include "kernels/comm/host/transport.h"
#include "kernels/comm/rendezvous/rendezvous.h"
#include "kernels/comm/rendezvous/socket.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Every message begins with its length: ranks that call different things notice. This bit of it
// marks those of Post.
constexpr uint64_t kPosted = uint64_t{1} << 63;
constexpr size_t kMaxPosted = 64 * 1024;  // bytes of such a message

class TcpTransport : public Transport {
 public:
  TcpTransport(int rank, std::vector<Socket> sockets) : rank_(rank), peers_(sockets.size()) {
    for (size_t r = 0; r < sockets.size(); ++r) peers_[r].socket = std::move(sockets[r]);
  }

  void Exchange(const Message& send, const Message& receive, const std::string& what) override {
    uint64_t length = send.num_bytes;
    size_t sent = 0, received = 0;
    const size_t send_total = send.num_bytes == 0 ? 0 : send.num_bytes + sizeof(length);
    WaitClock clock;
    while (sent < send_total || received < receive.num_bytes) {
      SendAllPosted(what);
      pollfd entries[2] = {
          {.fd = sent < send_total ? Fd(send.peer) : -1, .events = POLLOUT, .revents = 0},
          {.fd = received < receive.num_bytes ? Fd(receive.peer) : -1,
           .events = POLLIN,
           .revents = 0}};
      if (!Poll(entries, 2, &clock, what,
                received < receive.num_bytes ? receive.peer : send.peer)) {
        continue;
      }
      // Posted messages go first.
      if (entries[0].revents != 0 && SendPosted(send.peer, what)) {
        const bool begins = sent < sizeof(length);
        const char* data = begins ? reinterpret_cast<const char*>(&length) + sent
                                  : static_cast<const char*>(send.data) + sent - sizeof(length);
        const size_t end = begins ? sizeof(length) : send_total;
        sent += Progress(::send(Fd(send.peer), data, end - sent, MSG_NOSIGNAL), what, send.peer);
      }
      if (entries[1].revents != 0 && ReceiveLength(receive.peer, what)) {
        Peer& peer = peers_[static_cast<size_t>(receive.peer)];
        CheckLength(peer.length, receive, what);
        received += Receive(receive.peer, static_cast<char*>(receive.data) + received,
                            receive.num_bytes - received, what);
        if (received == receive.num_bytes) peer.length_bytes = 0;
      }
    }
  }

  void Post(const Message& message, const std::string& what) override {
    const uint64_t length = message.num_bytes | kPosted;
    std::string& unsent = peers_[static_cast<size_t>(message.peer)].unsent;
    unsent.append(reinterpret_cast<const char*>(&length), sizeof(length));
    unsent.append(static_cast<const char*>(message.data), message.num_bytes);
    unsent_.insert(message.peer);
    SendAllPosted(what);
  }

  bool Take(const Message& message, bool wait, const std::string& what) override {
    SendAllPosted(what);
    if (TakeArrived(message, what)) return true;
    if (!wait) return false;
    WaitClock clock;
    while (!TakeArrived(message, what)) {
      SendAllPosted(what);
      pollfd entry = {.fd = Fd(message.peer), .events = POLLIN, .revents = 0};
      Poll(&entry, 1, &clock, what, message.peer);
    }
    return true;
  }

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(peers_.size()); }

 private:
  struct Peer {
    Socket socket;  // this rank's own is closed
    // The length of the message that comes next, as far as it has come. It stays until the message
    // has come whole.
    uint64_t length = 0;
    size_t length_bytes = 0;
    std::string part;                // of a posted message that has not come whole
    std::deque<std::string> posted;  // that Take has not taken
    std::string unsent;              // of what was posted to the peer
  };

  int Fd(int peer) const { return peers_[static_cast<size_t>(peer)].socket.fd(); }

  // Waits for one of the sockets. False: none is ready.
  bool Poll(pollfd* entries, nfds_t count, WaitClock* clock, const std::string& what,
            int peer) const {
    // Up to the end of the millisecond: not before it is time to look.
    const int until = MillisecondsUntil(clock->NextLook()) + 1;
    const int ready = poll(entries, count, unsent_.empty() ? until : 1);
    if (ready == 0 || (ready < 0 && errno != EINTR)) clock->Look(what, peer);
    return ready > 0;
  }

  // Receives until a posted message has come whole, behind which the peer may have closed the
  // connection, or one of Exchange begins. True: the length of the latter is there.
  bool ReceiveLength(int from, const std::string& what) {
    Peer& peer = peers_[static_cast<size_t>(from)];
    for (;;) {
      if (peer.length_bytes < sizeof(peer.length)) {
        const size_t bytes =
            Receive(from, reinterpret_cast<char*>(&peer.length) + peer.length_bytes,
                    sizeof(peer.length) - peer.length_bytes, what);
        if (bytes == 0) return false;
        peer.length_bytes += bytes;
        continue;
      }
      if ((peer.length & kPosted) == 0) return true;
      const size_t total = peer.length & ~kPosted, done = peer.part.size();
      if (total > kMaxPosted) {
        PeerFailed(what, from, absl::StrCat("it posted ", total, " bytes"));
      }
      peer.part.resize(total);
      const size_t bytes = Receive(from, peer.part.data() + done, total - done, what);
      peer.part.resize(done + bytes);
      if (peer.part.size() < total) {
        if (bytes == 0) return false;
        continue;
      }
      peer.posted.push_back(std::exchange(peer.part, std::string()));
      peer.length_bytes = 0;
      return false;
    }
  }

  bool TakeArrived(const Message& message, const std::string& what) {
    Peer& peer = peers_[static_cast<size_t>(message.peer)];
    if (peer.posted.empty()) ReceiveLength(message.peer, what);
    if (peer.posted.empty()) return false;
    CheckLength(peer.posted.front().size(), message, what);
    std::memcpy(message.data, peer.posted.front().data(), message.num_bytes);
    peer.posted.pop_front();
    return true;
  }

  static void CheckLength(uint64_t length, const Message& expected, const std::string& what) {
    if (length == expected.num_bytes) return;
    PeerFailed(what, expected.peer,
               absl::StrCat("it sent ", length, " bytes where ", expected.num_bytes,
                            " were expected; the ranks do different things"));
  }

  // True: nothing that was posted to the peer is unsent.
  bool SendPosted(int to, const std::string& what) {
    std::string& unsent = peers_[static_cast<size_t>(to)].unsent;
    while (!unsent.empty()) {
      const size_t bytes =
          Progress(::send(Fd(to), unsent.data(), unsent.size(), MSG_NOSIGNAL), what, to);
      if (bytes == 0) return false;
      unsent.erase(0, bytes);
    }
    unsent_.erase(to);
    return true;
  }

  void SendAllPosted(const std::string& what) {
    const std::set<int> peers = unsent_;
    for (const int peer : peers) SendPosted(peer, what);
  }

  size_t Receive(int from, char* data, size_t num_bytes, const std::string& what) {
    const ssize_t bytes = recv(Fd(from), data, num_bytes, 0);
    if (bytes == 0) PeerFailed(what, from, "it closed the connection: it ended or was killed");
    return Progress(bytes, what, from);
  }

  static size_t Progress(ssize_t bytes, const std::string& what, int peer) {
    if (bytes >= 0) return static_cast<size_t>(bytes);
    if (errno != EAGAIN && errno != EINTR) {
      PeerFailed(what, peer, absl::StrCat("the connection broke: ", std::strerror(errno)));
    }
    return 0;
  }

  int rank_;
  std::vector<Peer> peers_;  // by rank
  std::set<int> unsent_;     // peers to which something posted is unsent
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeTcpTransport(const TcpMeeting& meeting) {
  ASSIGN_OR_RETURN(std::vector<Socket> peers, Meet(meeting));
  return std::unique_ptr<Transport>(new TcpTransport(meeting.rank, std::move(peers)));
}

}  // namespace wyvern
