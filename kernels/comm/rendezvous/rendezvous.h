// How the ranks of a run find each other over TCP: each connects to rank 0, learns from it where
// the others are, and connects to them.
#ifndef WYVERN_KERNELS_COMM_RENDEZVOUS_RENDEZVOUS_H_
#define WYVERN_KERNELS_COMM_RENDEZVOUS_RENDEZVOUS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/comm/rendezvous/socket.h"

namespace wyvern {

struct TcpMeeting {
  int rank = 0, size = 1;
  std::string address;  // of rank 0's host: a name, or an IPv4 or IPv6 address
  int port = 0;
  bool several_hosts = false;  // it is known that not all ranks are on rank 0's host
  // A secret of the ranks of one run (handshake.h); empty: anyone may join.
  std::string token;
  // Which run this is: a text that is the same on all ranks, and the run's folder, which is the
  // same on ranks of one host. Ranks of another are turned away. Empty: not known.
  std::string run, folder;
  double timeout_seconds = CommTimeout();
  double notice_seconds = 1;  // until it first says for whom it waits
};

// One connection to each other rank, by rank; this rank's own is closed. Says on stderr now and
// then for whom it waits. Strangers at the ports delay nobody: all connections are served side by
// side, and whoever does not prove itself within five seconds is turned away.
//
// A connection over which a rank is here is never given to another. Ports are open only while ranks
// are missing, at the addresses by which ranks can come.
//
// Errors: too few open files are allowed for so many ranks; ranks that are missing after
// `timeout_seconds`, by number; an address that can never work; a port that another process has; a
// listener of another run, of another version, or with another token.
absl::StatusOr<std::vector<Socket>> Meet(const TcpMeeting& meeting);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_RENDEZVOUS_RENDEZVOUS_H_
