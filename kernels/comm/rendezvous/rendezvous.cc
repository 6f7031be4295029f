#include "kernels/comm/rendezvous/rendezvous.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/comm/rendezvous/caller.h"
#include "kernels/comm/rendezvous/file_limit.h"
#include "kernels/comm/rendezvous/link.h"
#include "kernels/comm/rendezvous/visitors.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using std::chrono::steady_clock;
using Links = std::vector<std::unique_ptr<Link>>;  // by rank; null: not here

constexpr double kSecondNotice = 30, kNoticeEvery = 60;  // seconds
constexpr double kTellEvery = 2;         // for whom rank 0 waits, to those who are here
constexpr double kPortSeconds = 0.5;     // until a port that is taken counts as taken
constexpr double kNeighbourSeconds = 2;  // for who has it to say so
constexpr size_t kMaxNamed = 16;         // ranks in a message

// "rank 3", "ranks 1, 3".
std::string RanksText(const std::vector<int>& ranks) {
  const std::vector<int> named(
      ranks.begin(), ranks.begin() + static_cast<ptrdiff_t>(std::min(ranks.size(), kMaxNamed)));
  return absl::StrCat(
      ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(named, ", "),
      ranks.size() > kMaxNamed ? absl::StrCat(" and ", ranks.size() - kMaxNamed, " more") : "");
}

std::vector<int> Missing(const Links& links, int begin) {
  std::vector<int> missing;
  for (size_t r = static_cast<size_t>(begin); r < links.size(); ++r) {
    if (links[r] == nullptr) missing.push_back(static_cast<int>(r));
  }
  return missing;
}

// One wait of a rank for others: when it is over, and when to speak of it.
class Patience {
 public:
  explicit Patience(const TcpMeeting& meeting)
      : seconds_(meeting.timeout_seconds),
        begin_(steady_clock::now()),
        deadline_(DeadlineIn(seconds_)),
        notice_(DeadlineIn(meeting.notice_seconds)) {}

  bool over() const { return steady_clock::now() >= deadline_; }
  Deadline Next() const { return std::min(notice_, deadline_); }
  double seconds() const { return seconds_; }

  void Speak(const std::string& text) {
    if (steady_clock::now() < notice_) return;
    const double waited = std::chrono::duration<double>(steady_clock::now() - begin_).count();
    CommWarning(absl::StrCat(text, " (", std::round(waited), " s of ", seconds_, " s)"));
    notice_ = DeadlineIn(waited < kSecondNotice - 1 ? kSecondNotice - waited : kNoticeEvery);
  }

 private:
  const double seconds_;
  const Deadline begin_, deadline_;
  Deadline notice_;
};

// Rank 0's port. An address as MASTER_ADDR is the interface that the ranks use. A name may stand
// for another address on other hosts: rank 0's own is 127.0.1.1 to many, and platforms set
// localhost for the ranks of its host alone.
absl::StatusOr<Socket> TryListen(const TcpMeeting& meeting) {
  const auto address = SocketAddress::FromText(meeting.address, meeting.port);
  if (address.has_value() && !(address->IsLoopback() && meeting.several_hosts)) {
    absl::StatusOr<Socket> socket = Socket::Listen(*address);
    // An address that is translated on the way is none of this host.
    if (!absl::IsNotFound(socket.status())) return socket;
  }
  return Socket::Listen(meeting.port);
}

// Who has the port, as it says itself where it is a rank of Wyvern.
std::string PortOwner(const TcpMeeting& meeting) {
  const bool name = !SocketAddress::FromText(meeting.address, meeting.port).has_value();
  Caller caller(meeting, 0, name ? "127.0.0.1" : meeting.address, meeting.port);
  const Deadline deadline = DeadlineIn(kNeighbourSeconds);
  while (!caller.done() && steady_clock::now() < deadline) {
    const absl::Status status = caller.Serve();
    if (!status.ok()) return std::string(status.message());
    PollSet set;
    caller.AddTo(&set);
    set.Wait(std::min(deadline, caller.NextDue()));
  }
  return caller.Text();
}

absl::StatusOr<Socket> ListenAsFirst(const TcpMeeting& meeting) {
  // An earlier start of the run may be about to end.
  const Deadline deadline = DeadlineIn(kPortSeconds);
  absl::StatusOr<Socket> socket = TryListen(meeting);
  while (absl::IsAlreadyExists(socket.status()) && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    socket = TryListen(meeting);
  }
  if (!absl::IsAlreadyExists(socket.status())) return socket;
  return absl::FailedPreconditionError(
      absl::StrCat("MASTER_PORT ", meeting.port,
                   " is in use on this host; give this run another one, or end "
                   "what listens there: ",
                   PortOwner(meeting)));
}

// Until nothing is unsent; the other end may have gone. Receives nothing: what comes next is the
// transport's.
void Flush(const Links& links, const Patience& patience) {
  for (const std::unique_ptr<Link>& link : links) {
    while (link != nullptr && link->has_unsent() && !patience.over()) {
      PollSet set;
      set.Add(link->socket().fd(), POLLOUT);
      set.Wait(DeadlineIn(1));
      if (!link->Flush().ok()) break;
    }
  }
}

// Rank 0 of a meeting.
class First {
 public:
  explicit First(const TcpMeeting& meeting)
      : meeting_(meeting), patience_(meeting), links_(static_cast<size_t>(meeting.size)) {}

  absl::StatusOr<Links> Meet() {
    const absl::Status status = MeetAll();
    if (!status.ok()) {
      for (const std::unique_ptr<Link>& link : links_) {
        if (link != nullptr) link->Send({"failed", std::string(status.message())});
      }
      return status;
    }
    return std::move(links_);
  }

 private:
  absl::Status MeetAll() {
    RETURN_IF_ERROR(Gather());
    WarnIfOpen();
    Words plan = {"plan"};
    for (size_t r = 1; r < links_.size(); ++r) {
      SocketAddress address = links_[r]->address();
      address.set_scope(0);  // a number of this host
      plan.push_back(address.Host());
    }
    SendAll(plan);
    RETURN_IF_ERROR(CollectPorts());
    Words ports = {"ports"};
    ports.insert(ports.end(), ports_.begin() + 1, ports_.end());
    SendAll(ports);
    Flush(links_, patience_);
    return absl::OkStatus();
  }

  absl::Status Gather() {
    ASSIGN_OR_RETURN(Socket listener, ListenAsFirst(meeting_));
    const bool only_here = listener.LocalAddress().IsLoopback();
    Visitors visitors(meeting_, std::move(listener));
    Deadline tell = DeadlineIn(0);
    for (;;) {
      DropTheGone();
      RETURN_IF_ERROR(visitors.Serve([&](int rank, std::unique_ptr<Link>* link) {
        std::unique_ptr<Link>& place = links_[static_cast<size_t>(rank)];
        if (place != nullptr && !place->Closed()) {
          return absl::StrCat("rank ", rank, " is here already, from ", place->address().Host(),
                              "; check RANK");
        }
        place = std::move(*link);
        place->Send({"accepted"});
        const std::vector<int> others = Missing(links_, 1);
        if (!others.empty()) place->Send({"waits", RanksText(others)});
        return std::string();
      }));
      const std::vector<int> missing = Missing(links_, 1);
      if (missing.empty()) return absl::OkStatus();
      const std::string where =
          absl::StrCat(meeting_.address, ", port ", meeting_.port,
                       only_here ? " (this host's own: no other reaches it)" : "");
      if (patience_.over()) {
        return absl::DeadlineExceededError(
            absl::StrCat("only ", meeting_.size - static_cast<int>(missing.size()), " of ",
                         meeting_.size, " ranks are at ", where, " after ", patience_.seconds(),
                         " s; ", MissingText(missing), visitors.TurnedAwayText()));
      }
      patience_.Speak(absl::StrCat("waits for ", RanksText(missing), " to come to ", where,
                                   visitors.TurnedAwayText()));
      if (steady_clock::now() >= tell) {
        SendAll({"waits", RanksText(missing)});
        tell = DeadlineIn(kTellEvery);
      }
      PollSet set;
      visitors.AddTo(&set);
      for (const std::unique_ptr<Link>& link : links_) {
        if (link != nullptr) set.Add(*link);
      }
      set.Wait(std::min({patience_.Next(), visitors.NextDue(), tell}));
    }
  }

  // "missing: rank 2; came and left: rank 1". Where all have one time-out, those that began before
  // rank 0 give up before it.
  std::string MissingText(const std::vector<int>& missing) const {
    std::vector<int> never, left;
    for (const int rank : missing) (left_.count(rank) > 0 ? left : never).push_back(rank);
    return absl::StrCat(never.empty() ? "" : absl::StrCat("missing: ", RanksText(never)),
                        never.empty() || left.empty() ? "" : "; ",
                        left.empty() ? "" : absl::StrCat("came and left: ", RanksText(left)));
  }

  // A rank that ended, or was started again, gives its place free.
  void DropTheGone() {
    for (size_t r = 1; r < links_.size(); ++r) {
      if (links_[r] == nullptr) continue;
      const absl::StatusOr<std::optional<Words>> words = links_[r]->Advance();
      if (words.ok() && !words->has_value()) continue;
      CommWarning(absl::StrCat(
          "rank ", r, " at ", links_[r]->address().Host(), " left before all ranks were there: ",
          words.ok() ? "it spoke out of turn" : std::string(words.status().message())));
      links_[r] = nullptr;
      left_.insert(static_cast<int>(r));
    }
  }

  // Where each of the others listens.
  absl::Status CollectPorts() {
    ports_.assign(links_.size(), "");
    for (;;) {
      std::vector<int> missing;
      PollSet set;
      for (size_t r = 1; r < links_.size(); ++r) {
        if (!ports_[r].empty()) continue;
        const absl::StatusOr<std::optional<Words>> words = links_[r]->Advance();
        if (!words.ok()) {
          return absl::UnavailableError(absl::StrCat("rank ", r, " ended as the ranks met: ",
                                                     absl::string_view(words.status().message())));
        }
        if (!words->has_value()) {
          missing.push_back(static_cast<int>(r));
          set.Add(*links_[r]);
        } else if ((**words).size() == 2 && (**words)[0] == "port") {
          ports_[r] = (**words)[1];
        } else {
          return absl::InternalError(absl::StrCat("rank ", r, " spoke out of turn"));
        }
      }
      if (missing.empty()) return absl::OkStatus();
      if (patience_.over()) {
        return absl::DeadlineExceededError(
            absl::StrCat(RanksText(missing), " came, but did not say where to find them within ",
                         patience_.seconds(), " s"));
      }
      patience_.Speak(absl::StrCat("waits for ", RanksText(missing), " to say where they are"));
      set.Wait(patience_.Next());
    }
  }

  void WarnIfOpen() const {
    const bool several_hosts = std::any_of(links_.begin() + 1, links_.end(), [](const auto& link) {
      return !link->address().IsLoopback() &&
             link->address().Host() != link->socket().LocalAddress().Host();
    });
    if (!meeting_.token.empty() || !several_hosts) return;
    CommWarning(
        "WYVERN_RUN_TOKEN is not set, so that any process which reaches the ranks' ports as they "
        "start can join the run; scripts/launch makes one, and a platform can set the same secret "
        "text of 16 bytes or more on every rank");
  }

  void SendAll(const Words& words) {
    for (const std::unique_ptr<Link>& link : links_) {
      if (link != nullptr) link->Send(words);
    }
  }

  const TcpMeeting& meeting_;
  Patience patience_;
  Links links_;
  std::set<int> left_;  // ranks that were here before all were
  Words ports_;
};

// Any other rank.
class Other {
 public:
  explicit Other(const TcpMeeting& meeting)
      : meeting_(meeting), patience_(meeting), links_(static_cast<size_t>(meeting.size)) {}

  absl::StatusOr<Links> Meet() {
    RETURN_IF_ERROR(CallFirst());
    // Higher ranks find this one where rank 0 sees it.
    SocketAddress own = links_[0]->socket().LocalAddress();
    own.set_port(0);
    std::optional<Socket> listener;
    if (meeting_.rank + 1 < meeting_.size) {
      ASSIGN_OR_RETURN(listener, Socket::Listen(own));
    }
    ASSIGN_OR_RETURN(const Words plan, HearFirst("plan"));
    std::vector<SocketAddress> addresses;
    bool all_here = true;
    for (size_t r = 1; r < links_.size(); ++r) {
      const auto address = SocketAddress::FromText(plan[r], 0);
      if (!address.has_value()) {
        return absl::InternalError(absl::StrCat("rank 0 says that rank ", r, " is at ", plan[r]));
      }
      all_here &= address->IsLoopback();
      addresses.push_back(*address);
    }
    if (listener.has_value() && own.IsLoopback() && !all_here) {
      // Those of other hosts come by an address of this one which only they know.
      ASSIGN_OR_RETURN(listener, Socket::Listen(0));
    }
    links_[0]->Send({"port", absl::StrCat(listener.has_value() ? listener->LocalPort() : 0)});
    ASSIGN_OR_RETURN(const Words ports, HearFirst("ports"));
    std::vector<Caller> callers;
    for (int r = 1; r < meeting_.rank; ++r) {
      int port = 0;
      if (!absl::SimpleAtoi(ports[static_cast<size_t>(r)], &port)) {
        return absl::InternalError(absl::StrCat("rank 0 does not say where rank ", r, " is"));
      }
      callers.emplace_back(meeting_, r,
                           AddressFromHere(addresses[static_cast<size_t>(r - 1)], port));
    }
    RETURN_IF_ERROR(MeetTheRest(&callers, std::move(listener)));
    Flush(links_, patience_);
    return std::move(links_);
  }

 private:
  absl::Status CallFirst() {
    Caller caller(meeting_, 0, meeting_.address, meeting_.port);
    for (;;) {
      RETURN_IF_ERROR(caller.Serve());
      if (caller.done()) break;
      if (patience_.over()) {
        return absl::DeadlineExceededError(
            absl::StrCat("no way to ", caller.Text(), ", within ", patience_.seconds(), " s"));
      }
      patience_.Speak(absl::StrCat("waits for ", caller.Text()));
      PollSet set;
      caller.AddTo(&set);
      set.Wait(std::min(patience_.Next(), caller.NextDue()));
    }
    links_[0] = caller.Take();
    return absl::OkStatus();
  }

  // Receives rank 0's words under this heading, one for each rank.
  absl::StatusOr<Words> HearFirst(const std::string& heading) {
    const std::string first = absl::StrCat("rank 0 at ", links_[0]->address().Text());
    std::string waits_for = "other ranks";
    for (;;) {
      absl::StatusOr<std::optional<Words>> words = links_[0]->Advance();
      if (!words.ok()) {
        return absl::UnavailableError(absl::StrCat(first, " ended before all ranks were there: ",
                                                   absl::string_view(words.status().message())));
      }
      if (words->has_value()) {
        const Words& said = **words;
        if (said[0] == "waits" && said.size() == 2) {
          waits_for = said[1];
        } else if (said[0] == "failed" && said.size() == 2) {
          return absl::UnavailableError(absl::StrCat(first, " gave up: ", said[1]));
        } else if (said[0] == heading && said.size() == links_.size()) {
          return said;
        } else {
          return absl::InternalError(absl::StrCat(first, " spoke out of turn"));
        }
        continue;
      }
      if (patience_.over()) {
        return absl::DeadlineExceededError(absl::StrCat(first, " still waits for ", waits_for,
                                                        " after ", patience_.seconds(), " s"));
      }
      patience_.Speak(absl::StrCat("is with ", first, ", which waits for ", waits_for));
      PollSet set;
      set.Add(*links_[0]);
      set.Wait(patience_.Next());
    }
  }

  // A rank that rank 0 sees at `seen`: on its own host, or on another.
  SocketAddress AddressFromHere(SocketAddress seen, int port) const {
    const SocketAddress own = links_[0]->socket().LocalAddress();
    if (seen.IsLoopback() && !own.IsLoopback()) seen = links_[0]->address();
    // The interface by which this rank reached rank 0.
    const unsigned scope = links_[0]->address().scope();
    if (seen.IsLinkLocal()) seen.set_scope(scope != 0 ? scope : own.scope());
    seen.set_port(port);
    return seen;
  }

  // Connects to the lower ranks, and lets the higher ones come.
  absl::Status MeetTheRest(std::vector<Caller>* callers, std::optional<Socket> listener) {
    Visitors visitors(meeting_, std::move(listener));
    for (;;) {
      RETURN_IF_ERROR(visitors.Serve([&](int rank, std::unique_ptr<Link>* link) {
        std::unique_ptr<Link>& place = links_[static_cast<size_t>(rank)];
        if (place != nullptr && !place->Closed()) {
          return absl::StrCat("rank ", rank, " is here already; check RANK");
        }
        place = std::move(*link);
        place->Send({"accepted"});
        return std::string();
      }));
      std::string unreached;
      for (Caller& caller : *callers) {
        std::unique_ptr<Link>& place = links_[static_cast<size_t>(caller.rank())];
        if (place != nullptr) continue;
        RETURN_IF_ERROR(caller.Serve());
        if (caller.done()) {
          place = caller.Take();
        } else {
          unreached = caller.Text();
        }
      }
      const std::vector<int> missing = Missing(links_, meeting_.rank + 1);
      if (missing.empty() && unreached.empty()) return absl::OkStatus();
      const std::string whom =
          absl::StrCat(unreached, !unreached.empty() && !missing.empty() ? ", and for " : "",
                       missing.empty() ? "" : absl::StrCat(RanksText(missing), " to come"));
      if (patience_.over()) {
        return absl::DeadlineExceededError(absl::StrCat("still waits for ", whom, " after ",
                                                        patience_.seconds(), " s",
                                                        visitors.TurnedAwayText()));
      }
      patience_.Speak(absl::StrCat("waits for ", whom, visitors.TurnedAwayText()));
      RETURN_IF_ERROR(CheckFirst());
      PollSet set;
      visitors.AddTo(&set);
      Deadline due = std::min({patience_.Next(), visitors.NextDue(), DeadlineIn(1)});
      for (const Caller& caller : *callers) {
        if (links_[static_cast<size_t>(caller.rank())] != nullptr) continue;
        caller.AddTo(&set);
        due = std::min(due, caller.NextDue());
      }
      set.Wait(due);
    }
  }

  // Rank 0, which has met all, notices first that one is lost, and ends.
  absl::Status CheckFirst() const {
    if (!links_[0]->Closed()) return absl::OkStatus();
    return absl::UnavailableError(
        "rank 0 closed the connection before this rank had met all others: it ended or was killed");
  }

  const TcpMeeting& meeting_;
  Patience patience_;
  Links links_;
};

}  // namespace

absl::StatusOr<std::vector<Socket>> Meet(const TcpMeeting& meeting) {
  CHECK(0 <= meeting.rank && meeting.rank < meeting.size, "rank ", meeting.rank, " of ",
        meeting.size);
  RETURN_IF_ERROR(AllowSocketsOf(meeting.size));
  ASSIGN_OR_RETURN(Links links, meeting.rank == 0 ? First(meeting).Meet() : Other(meeting).Meet());
  std::vector<Socket> sockets(links.size());
  for (size_t r = 0; r < links.size(); ++r) {
    if (links[r] != nullptr) sockets[r] = std::move(links[r]->socket());
  }
  return sockets;
}

}  // namespace wyvern
