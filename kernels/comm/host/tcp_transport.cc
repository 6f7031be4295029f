#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/wait_clock.h"
#include "kernels/comm/host/transport.h"
#include "kernels/comm/rendezvous/rendezvous.h"
#include "kernels/comm/rendezvous/socket.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

class TcpTransport : public Transport {
 public:
  TcpTransport(int rank, std::vector<Socket> peers) : rank_(rank), peers_(std::move(peers)) {}

  void Exchange(const Message& send, const Message& receive, const std::string& what) override {
    // Every message begins with its length: ranks that call different things notice.
    uint64_t out_length = send.num_bytes;
    uint64_t in_length = 0;
    size_t sent = 0, received = 0;
    const size_t send_total = send.num_bytes == 0 ? 0 : send.num_bytes + sizeof(out_length);
    const size_t receive_total = receive.num_bytes == 0 ? 0 : receive.num_bytes + sizeof(in_length);
    WaitClock clock;
    while (sent < send_total || received < receive_total) {
      pollfd entries[2] = {
          {.fd = sent < send_total ? Fd(send.peer) : -1, .events = POLLOUT, .revents = 0},
          {.fd = received < receive_total ? Fd(receive.peer) : -1, .events = POLLIN, .revents = 0}};
      // Up to the end of the millisecond: not before it is time to look.
      const int ready = poll(entries, 2, MillisecondsUntil(clock.NextLook()) + 1);
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) {
        clock.Look(what, received < receive_total ? receive.peer : send.peer);
        continue;
      }
      if (entries[0].revents != 0) {
        sent += Part(sent, &out_length, send, [&](void* data, size_t n) {
          return Progress(::send(Fd(send.peer), data, n, MSG_NOSIGNAL), what, send.peer);
        });
      }
      if (entries[1].revents != 0) {
        received += Part(received, &in_length, receive, [&](void* data, size_t n) {
          const ssize_t bytes = recv(Fd(receive.peer), data, n, 0);
          if (bytes == 0) {
            PeerFailed(what, receive.peer, "it closed the connection: it ended or was killed");
          }
          return Progress(bytes, what, receive.peer);
        });
        if (received >= sizeof(in_length) && in_length != receive.num_bytes) {
          PeerFailed(what, receive.peer,
                     absl::StrCat("it sent ", in_length, " bytes where ", receive.num_bytes,
                                  " were expected; the ranks do different things"));
        }
      }
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(peers_.size()); }

 private:
  int Fd(int peer) const { return peers_[static_cast<size_t>(peer)].fd(); }

  // Moves what is next of the length and then of the data, from byte `done` on.
  template <typename F>
  static size_t Part(size_t done, uint64_t* length, const Message& message, const F& move) {
    if (done < sizeof(*length)) {
      return move(reinterpret_cast<char*>(length) + done, sizeof(*length) - done);
    }
    const size_t at = done - sizeof(*length);
    return move(static_cast<char*>(message.data) + at, message.num_bytes - at);
  }

  static size_t Progress(ssize_t bytes, const std::string& what, int peer) {
    if (bytes >= 0) return static_cast<size_t>(bytes);
    if (errno != EAGAIN && errno != EINTR) {
      PeerFailed(what, peer, absl::StrCat("the connection broke: ", std::strerror(errno)));
    }
    return 0;
  }

  int rank_;
  std::vector<Socket> peers_;  // by rank; this rank's own is closed
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeTcpTransport(const TcpMeeting& meeting) {
  ASSIGN_OR_RETURN(std::vector<Socket> peers, Meet(meeting));
  return std::unique_ptr<Transport>(new TcpTransport(meeting.rank, std::move(peers)));
}

}  // namespace wyvern
