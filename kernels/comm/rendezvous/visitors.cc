#include "kernels/comm/rendezvous/visitors.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr double kProofSeconds = 5;
constexpr size_t kMaxStrangers = 128;  // beyond it, the oldest one goes
constexpr int kMaxSaid = 8;            // lines on stderr, whatever strangers do
constexpr size_t kMaxText = 1000;      // of a run's name or folder, in bytes

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

// Makes another process's text fit for a terminal.
std::string Shown(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return absl::ascii_iscntrl(c); }, '?');
  return text;
}

std::string RunText(const std::string& run, const std::string& folder) {
  if (absl::EndsWith(run, folder)) return absl::StrCat("the run ", Shown(run));
  return absl::StrCat("the run ", Shown(run), folder.empty() ? "" : ", folder ", Shown(folder));
}

}  // namespace

Words IntroductionOf(const TcpMeeting& meeting) {
  return {"rank",
          absl::StrCat(meeting.rank),
          absl::StrCat(meeting.size),
          meeting.run.substr(0, kMaxText),
          meeting.folder.substr(0, kMaxText),
          HostName()};
}

Visitors::Visitors(const TcpMeeting& meeting, std::optional<Socket> listener)
    : meeting_(meeting), listener_(std::move(listener)) {}

void Visitors::AddTo(PollSet* set) const {
  if (listener_.has_value()) set->Add(*listener_);
  for (const Stranger& stranger : strangers_) set->Add(*stranger.link);
}

Deadline Visitors::NextDue() const {
  return strangers_.empty() ? Deadline::max() : strangers_.front().due;
}

absl::Status Visitors::AcceptAll() {
  if (!listener_.has_value()) return absl::OkStatus();
  // However fast more of them come.
  for (size_t i = 0; i < kMaxStrangers; ++i) {
    absl::StatusOr<std::optional<Socket>> socket = listener_->Accept();
    if (!socket.ok()) {
      // Too many open files, as a rule: strangers make room first.
      if (strangers_.empty()) return socket.status();
      strangers_.pop_front();
      continue;
    }
    if (!socket->has_value()) return absl::OkStatus();
    if (strangers_.size() >= kMaxStrangers) strangers_.pop_front();
    Handshake handshake(Handshake::Role::kListener, meeting_.token, meeting_.rank);
    strangers_.push_back({std::make_unique<Link>(**std::move(socket), std::move(handshake)),
                          DeadlineIn(kProofSeconds)});
  }
  return absl::OkStatus();
}

absl::Status Visitors::Serve(const Admit& admit) {
  RETURN_IF_ERROR(AcceptAll());
  const Deadline now = std::chrono::steady_clock::now();
  for (auto stranger = strangers_.begin(); stranger != strangers_.end();) {
    absl::StatusOr<std::optional<Words>> words = stranger->link->Advance();
    if (words.ok() && !words->has_value() && now < stranger->due) {
      ++stranger;
      continue;
    }
    if (!words.ok()) {
      TurnAway(*stranger->link, words.status());
    } else if (words->has_value()) {
      Introduce(**words, std::move(stranger->link), admit);
    } else {
      TurnAway(*stranger->link, absl::DeadlineExceededError(absl::StrCat(
                                    "it did not say who it is within ", kProofSeconds, " s")));
    }
    stranger = strangers_.erase(stranger);
  }
  return absl::OkStatus();
}

void Visitors::Introduce(const Words& words, std::unique_ptr<Link> link, const Admit& admit) {
  int rank = -1, size = 0;
  if (words.size() != 6 || words[0] != "rank" || !absl::SimpleAtoi(words[1], &rank) ||
      !absl::SimpleAtoi(words[2], &size)) {
    return TurnAway(*link, absl::InvalidArgumentError("it is something else than a rank"));
  }
  const Words own = IntroductionOf(meeting_);
  const std::string& run = words[3];
  const std::string& folder = words[4];
  // A process that could not read its configuration knows neither; it comes to say so.
  const bool known = !run.empty() && !own[3].empty();
  // Other hosts may have the same folder at another path.
  const bool other_folder = words[5] == own[5] && folder != own[4];
  std::string why;
  if (known && (run != own[3] || other_folder)) {
    why = absl::StrCat("it belongs to ", RunText(run, folder), ", and rank ", meeting_.rank,
                       " here to ", RunText(own[3], own[4]),
                       "; give each run a MASTER_PORT of its own");
  } else if (size != meeting_.size) {
    why = absl::StrCat("it believes that there are ", size, " ranks, rank ", meeting_.rank,
                       " that there are ", meeting_.size, "; check WORLD_SIZE");
  } else if (rank <= meeting_.rank || rank >= meeting_.size) {
    why = absl::StrCat("rank ", meeting_.rank, " of ", meeting_.size, " waits for no rank ", rank,
                       "; check RANK");
  } else {
    why = admit(rank, &link);
    if (why.empty()) return;
  }
  link->Send({"refused", why});
  TurnAway(*link, absl::FailedPreconditionError(
                      absl::StrCat("it says that it is rank ", rank, ", but ", why)));
}

void Visitors::TurnAway(const Link& link, const absl::Status& why) {
  ++num_turned_away_;
  last_ = absl::StrCat(link.address().Host(), ": ", absl::string_view(why.message()));
  // Reports at once what may be a rank of the user's.
  const bool maybe_rank = absl::IsPermissionDenied(why) || absl::IsFailedPrecondition(why);
  if (maybe_rank && num_said_ < kMaxSaid) {
    ++num_said_;
    CommWarning(absl::StrCat("a process at ", last_, ". It was turned away"));
  }
}

std::string Visitors::TurnedAwayText() const {
  if (num_turned_away_ == 0) return "";
  return absl::StrCat("; connections turned away: ", num_turned_away_, ", the last from ", last_);
}

}  // namespace wyvern
