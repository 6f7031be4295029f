// Who comes to a rank's port, and whom it lets in.
#ifndef WYVERN_KERNELS_COMM_RENDEZVOUS_VISITORS_H_
#define WYVERN_KERNELS_COMM_RENDEZVOUS_VISITORS_H_

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "kernels/comm/rendezvous/link.h"
#include "kernels/comm/rendezvous/rendezvous.h"

namespace wyvern {

// A listening socket, and the connections to it that have not yet said who they are.
class Visitors {
 public:
  // No listener: nobody comes.
  Visitors(const TcpMeeting& meeting, std::optional<Socket> listener);

  void AddTo(PollSet* set) const;
  // When Serve is to be called at the latest.
  Deadline NextDue() const;

  // Accepts, reads, and turns away whoever is none of this run's or takes too long. `admit` gets
  // each rank that this one waits for, with its number; it keeps the link and returns an empty
  // text, or says why the rank cannot come in. Error: no more connections can be accepted.
  using Admit = std::function<std::string(int rank, std::unique_ptr<Link>* link)>;
  absl::Status Serve(const Admit& admit);

  // "; 3 connections were turned away, the last from 10.0.0.2: ...", or nothing.
  std::string TurnedAwayText() const;

 private:
  struct Stranger {
    std::unique_ptr<Link> link;
    Deadline due;
  };

  absl::Status AcceptAll();
  void Introduce(const Words& words, std::unique_ptr<Link> link, const Admit& admit);
  void TurnAway(const Link& link, const absl::Status& why);

  const TcpMeeting& meeting_;
  std::optional<Socket> listener_;
  std::list<Stranger> strangers_;  // the oldest first
  int num_turned_away_ = 0, num_said_ = 0;
  std::string last_;
};

// A rank's introduction to one that it connected to.
Words IntroductionOf(const TcpMeeting& meeting);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_RENDEZVOUS_VISITORS_H_
