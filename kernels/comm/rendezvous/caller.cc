#include "kernels/comm/rendezvous/caller.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/comm/rendezvous/visitors.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using std::chrono::steady_clock;

constexpr double kStaggerSeconds = 0.25;  // before the next address of a name is tried beside
constexpr double kMinPause = 0.02, kMaxPause = 0.5;  // between two tries, in seconds
constexpr double kAnswerSeconds = 5;   // to connect and to prove itself; then to let this one in
constexpr double kResolveSeconds = 5;  // a name may be known, or known anew, only later
constexpr auto kLook = std::chrono::milliseconds(50);  // whether the resolver has answered

}  // namespace

Caller::Caller(const TcpMeeting& meeting, int rank, const std::string& host, int port)
    : meeting_(meeting), rank_(rank), host_(host), port_(port), resolve_at_(steady_clock::now()) {
  if (const auto address = SocketAddress::FromText(host, port)) {
    AddAddresses({*address});
    resolve_at_ = Deadline::max();
  }
}

Caller::Caller(const TcpMeeting& meeting, int rank, const SocketAddress& address)
    : meeting_(meeting), rank_(rank), port_(address.port()), resolve_at_(Deadline::max()) {
  AddAddresses({address});
}

void Caller::AddAddresses(const std::vector<SocketAddress>& addresses) {
  double wait = 0;
  for (const SocketAddress& address : addresses) {
    const bool known = std::any_of(tries_.begin(), tries_.end(), [&](const Try& one) {
      return one.address.Text() == address.Text();
    });
    if (known) continue;
    tries_.emplace_back();
    tries_.back().address = address;
    tries_.back().due = DeadlineIn(wait);
    wait += kStaggerSeconds;
  }
}

void Caller::Resolve() {
  if (resolving_.valid()) {
    if (resolving_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
    const Addresses addresses = resolving_.get();
    resolve_at_ = DeadlineIn(kResolveSeconds);
    if (addresses.ok()) {
      AddAddresses(*addresses);
      resolve_error_.clear();
    } else {
      resolve_at_ = DeadlineIn(1);
      resolve_error_ = std::string(addresses.status().message());
    }
  } else if (steady_clock::now() >= resolve_at_) {
    // The resolver cannot be interrupted, and may take longer than this process lives.
    std::packaged_task<Addresses()> task(
        [host = host_, port = port_] { return SocketAddress::Resolve(host, port); });
    resolving_ = task.get_future();
    std::thread(std::move(task)).detach();
  }
}

void Caller::AddTo(PollSet* set) const {
  for (const Try& one : tries_) {
    if (one.link != nullptr) set->Add(*one.link);
  }
}

Deadline Caller::NextDue() const {
  Deadline due = resolving_.valid() ? steady_clock::now() + kLook : resolve_at_;
  for (const Try& one : tries_) {
    if (one.introduced) return one.due;  // all else waits for it
    if (one.final.ok()) due = std::min(due, one.due);
  }
  return due;
}

absl::Status Caller::Serve() {
  const auto introduced = [&] {
    return std::any_of(tries_.begin(), tries_.end(), [](const Try& t) { return t.introduced; });
  };
  if (!introduced()) Resolve();
  for (Try& one : tries_) {
    if (done()) break;
    if (one.link == nullptr && one.final.ok() && steady_clock::now() >= one.due && !introduced()) {
      Start(&one);
    }
    if (one.link == nullptr) continue;
    RETURN_IF_ERROR(Advance(&one));
    if (!one.introduced) continue;
    // This is the way; a rank says only once who it is.
    for (Try& other : tries_) {
      if (&other != &one) other.link = nullptr;
    }
  }
  if (done()) return absl::OkStatus();
  const bool hopeless = !tries_.empty() && std::all_of(tries_.begin(), tries_.end(),
                                                       [](const Try& t) { return !t.final.ok(); });
  return hopeless ? tries_.front().final : absl::OkStatus();
}

void Caller::Start(Try* one) {
  one->introduced = false;
  one->due = DeadlineIn(kAnswerSeconds);
  absl::StatusOr<Socket> socket = Socket::StartConnect(one->address);
  if (!socket.ok()) return Fail(one, socket.status());
  one->link = std::make_unique<Link>(*std::move(socket), one->address,
                                     Handshake(Handshake::Role::kConnector, meeting_.token, rank_));
}

absl::Status Caller::Advance(Try* one) {
  const absl::StatusOr<std::optional<Words>> words = one->link->Advance();
  if (!words.ok()) {
    Fail(one, words.status());
  } else if (words->has_value()) {
    if (**words == Words{"accepted"}) {
      done_ = std::move(one->link);
    } else if ((**words).size() == 2 && (**words)[0] == "refused") {
      return Refused(*one, (**words)[1]);
    } else {
      Fail(one, absl::InvalidArgumentError("it is something else than a rank of Wyvern"));
    }
  } else if (one->link->proven() && !one->introduced) {
    one->introduced = true;
    one->due = DeadlineIn(kAnswerSeconds);
    one->link->Send(IntroductionOf(meeting_));
  } else if (steady_clock::now() >= one->due) {
    Fail(one, absl::DeadlineExceededError("no answer"));
  }
  return absl::OkStatus();
}

void Caller::Fail(Try* one, const absl::Status& why) {
  one->link = nullptr;
  one->introduced = false;
  one->error = std::string(why.message());
  one->pause = std::clamp(2 * one->pause, kMinPause, kMaxPause);
  one->due = DeadlineIn(one->pause);
  if (absl::IsPermissionDenied(why) || absl::IsFailedPrecondition(why)) {
    one->final = absl::FailedPreconditionError(
        absl::StrCat("cannot join rank ", rank_, " at ", one->address.Text(), ": ", one->error));
  }
}

absl::Status Caller::Refused(const Try& one, const std::string& why) const {
  return absl::FailedPreconditionError(
      absl::StrCat("rank ", rank_, " at ", one.address.Text(), " turned this process away: ", why));
}

std::string Caller::Text() const {
  std::vector<std::string> parts;
  bool loopback = !tries_.empty() && !host_.empty();
  for (const Try& one : tries_) {
    loopback &= one.address.IsLoopback() || one.address.IsUnspecified();
    const std::string state = !one.error.empty()    ? one.error
                              : one.introduced      ? "no answer"
                              : one.link == nullptr ? "not tried yet"
                                                    : "connecting";
    parts.push_back(host_ == one.address.Host() || host_.empty()
                        ? state
                        : absl::StrCat(one.address.Host(), ": ", state));
  }
  if (!resolve_error_.empty()) parts.push_back(resolve_error_);
  if (parts.empty()) parts.push_back("the resolver does not answer");
  const std::string where =
      host_.empty() ? tries_.front().address.Text() : absl::StrCat(host_, ":", port_);
  return absl::StrCat("rank ", rank_, " at ", where, ": ", absl::StrJoin(parts, "; "),
                      loopback ? "; this address is of this host itself, and serves only where "
                                 "rank 0 is here too"
                               : "");
}

}  // namespace wyvern
