// How a rank reaches another one that listens.
#ifndef WYVERN_KERNELS_COMM_RENDEZVOUS_CALLER_H_
#define WYVERN_KERNELS_COMM_RENDEZVOUS_CALLER_H_

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/comm/rendezvous/link.h"
#include "kernels/comm/rendezvous/rendezvous.h"

namespace wyvern {

// Tries every address of a rank, side by side and again and again, until the rank answers at one of
// them, proves itself and lets this one in.
class Caller {
 public:
  // At a name or an address, which the resolver is asked for beside all else.
  Caller(const TcpMeeting& meeting, int rank, const std::string& host, int port);
  Caller(const TcpMeeting& meeting, int rank, const SocketAddress& address);

  void AddTo(PollSet* set) const;
  // When Serve is to be called at the latest.
  Deadline NextDue() const;

  // Connects, sends and receives. Error: this can never go well, or the rank lets this one not in.
  absl::Status Serve();
  bool done() const { return done_ != nullptr; }
  std::unique_ptr<Link> Take() { return std::move(done_); }

  int rank() const { return rank_; }
  // "rank 0 at node1:29500: 10.0.0.1: connect: Connection refused".
  std::string Text() const;

 private:
  struct Try {
    SocketAddress address;
    std::unique_ptr<Link> link;  // null: between two tries
    bool introduced = false;     // this one has said who it is
    Deadline due;                // of the answer, or of the next try
    double pause = 0;            // seconds before it; longer after each
    std::string error;           // of the last try
    absl::Status final;          // no use to try again
  };

  void Resolve();
  void AddAddresses(const std::vector<SocketAddress>& addresses);
  void Start(Try* one);
  absl::Status Advance(Try* one);
  void Fail(Try* one, const absl::Status& why);
  absl::Status Refused(const Try& one, const std::string& why) const;

  const TcpMeeting& meeting_;
  const int rank_;
  const std::string host_;  // to resolve; empty: one address is known
  const int port_;
  std::vector<Try> tries_;
  std::unique_ptr<Link> done_;
  using Addresses = absl::StatusOr<std::vector<SocketAddress>>;
  std::future<Addresses> resolving_;
  Deadline resolve_at_;
  std::string resolve_error_;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_RENDEZVOUS_CALLER_H_
