#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/comm/comm_failure.h"
#include "kernels/comm/socket.h"
#include "kernels/comm/transport.h"
#include "kernels/comm/wait_clock.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr uint32_t kMagic = 0x57795672;  // another program at the port is noticed

// What a rank says of itself when it connects, and rank 0's list of all.
struct Introduction {
  uint32_t magic = kMagic;
  int32_t rank = 0, size = 0, port = 0;  // where it listens
  char address[64] = "";
};

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

absl::Status CheckIntroduction(const Introduction& other, int size) {
  if (other.magic != kMagic) {
    return absl::UnavailableError("something else than a rank of this run connected");
  }
  if (other.size != size || other.rank < 0 || other.rank >= size) {
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", other.rank, " believes that there are ", other.size,
                     " ranks, this one that there are ", size, "; check WORLD_SIZE and RANK"));
  }
  return absl::OkStatus();
}

// Rank 0: waits for all others and tells everyone where each of them listens.
absl::Status Gather(int size, int port, Deadline deadline, std::vector<Socket>* peers) {
  ASSIGN_OR_RETURN(const Socket listener, Socket::Listen(port));
  std::vector<Introduction> all(static_cast<size_t>(size));
  for (int present = 1; present < size;) {
    absl::StatusOr<Socket> socket = listener.Accept(deadline);
    if (!socket.ok()) {
      return absl::UnavailableError(absl::StrCat("only ", present, " of ", size,
                                                 " ranks came to port ", port, " within ",
                                                 CommTimeout(), " s"));
    }
    Introduction other;
    // A port scan is no rank, and no fault.
    if (!socket->ReceiveAll(&other, sizeof(other), deadline).ok()) continue;
    if (other.magic != kMagic) continue;
    RETURN_IF_ERROR(CheckIntroduction(other, size));
    Socket& place = (*peers)[static_cast<size_t>(other.rank)];
    if (place.fd() >= 0 || other.rank == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("two processes say that they are rank ", other.rank, "; check RANK"));
    }
    std::strncpy(other.address, socket->PeerAddress().c_str(), sizeof(other.address) - 1);
    all[static_cast<size_t>(other.rank)] = other;
    place = *std::move(socket);
    ++present;
  }
  for (int r = 1; r < size; ++r) {
    RETURN_IF_ERROR((*peers)[static_cast<size_t>(r)].SendAll(
        all.data(), all.size() * sizeof(Introduction), deadline));
  }
  return absl::OkStatus();
}

// The others: connect to rank 0, then to every lower rank, and wait for the higher ones.
absl::Status Join(int rank, int size, const std::string& address, int port, Deadline deadline,
                  std::vector<Socket>* peers) {
  ASSIGN_OR_RETURN(const Socket listener, Socket::Listen(0));
  Introduction self;
  self.rank = rank;
  self.size = size;
  self.port = listener.LocalPort();
  Socket& first = (*peers)[0];
  ASSIGN_OR_RETURN(first, Socket::Connect(address, port, deadline));
  RETURN_IF_ERROR(first.SendAll(&self, sizeof(self), deadline));
  std::vector<Introduction> all(static_cast<size_t>(size));
  const absl::Status listed =
      first.ReceiveAll(all.data(), all.size() * sizeof(Introduction), deadline);
  if (!listed.ok()) {
    return absl::UnavailableError(absl::StrCat(
        "rank 0 at ", address, ":", port,
        " did not say where the other ranks are: ", absl::string_view(listed.message())));
  }
  for (int r = 1; r < rank; ++r) {
    const Introduction& other = all[static_cast<size_t>(r)];
    ASSIGN_OR_RETURN(Socket socket, Socket::Connect(other.address, other.port, deadline));
    RETURN_IF_ERROR(socket.SendAll(&self, sizeof(self), deadline));
    (*peers)[static_cast<size_t>(r)] = std::move(socket);
  }
  for (int present = rank + 1; present < size;) {
    ASSIGN_OR_RETURN(Socket socket, listener.Accept(deadline));
    Introduction other;
    if (!socket.ReceiveAll(&other, sizeof(other), deadline).ok()) continue;
    if (other.magic != kMagic) continue;
    RETURN_IF_ERROR(CheckIntroduction(other, size));
    (*peers)[static_cast<size_t>(other.rank)] = std::move(socket);
    ++present;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeTcpTransport(int rank, int size,
                                                            const std::string& address, int port) {
  CHECK(0 <= rank && rank < size, "rank ", rank, " of ", size);
  std::vector<Socket> peers(static_cast<size_t>(size));
  const Deadline deadline = DeadlineIn(CommTimeout());
  RETURN_IF_ERROR(rank == 0 ? Gather(size, port, deadline, &peers)
                            : Join(rank, size, address, port, deadline, &peers));
  return std::unique_ptr<Transport>(new TcpTransport(rank, std::move(peers)));
}

}  // namespace wyvern
