#include "trainer/parallel/phase.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iterator>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr const char* kPhases[] = {"data",   "batch",      "forward and backward",
                                   "update", "validation", "checkpoint"};

// The step of the thread that trains.
int64_t current_step = 0;
std::vector<Fault> faults;

absl::StatusOr<Fault> ParseFault(const std::string& text) {
  Fault fault;
  bool has_rank = false, has_kind = false;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const std::pair<std::string, std::string> field = absl::StrSplit(part, absl::MaxSplits('=', 1));
    const std::string name(absl::StripAsciiWhitespace(field.first));
    const std::string value(absl::StripAsciiWhitespace(field.second));
    bool good = !value.empty();
    if (name == "rank") {
      good = has_rank = absl::SimpleAtoi(value, &fault.rank) && fault.rank >= 0;
    } else if (name == "step") {
      good = absl::SimpleAtoi(value, &fault.step) && fault.step >= 1;
    } else if (name == "phase") {
      if (std::find(std::begin(kPhases), std::end(kPhases), value) == std::end(kPhases)) {
        return absl::InvalidArgumentError(absl::StrCat("WYVERN_FAULT: '", part,
                                                       "': there is no such phase; there are '",
                                                       absl::StrJoin(kPhases, "', '"), "'"));
      }
      fault.phase = value;
    } else if (name == "do") {
      has_kind = true;
      const std::string_view slow = "slow:";
      if (value == "kill") {
        fault.kind = Fault::Kind::kKill;
      } else if (value == "hang") {
        fault.kind = Fault::Kind::kHang;
      } else if (value == "exit") {
        fault.kind = Fault::Kind::kExit;
      } else {
        good = absl::StartsWith(value, "slow:") &&
               absl::SimpleAtod(value.substr(slow.size()), &fault.seconds) && fault.seconds > 0;
      }
    } else {
      good = false;
    }
    if (!good) {
      return absl::InvalidArgumentError(absl::StrCat(
          "WYVERN_FAULT: '", part, "': expected rank=N, step=N, phase=NAME and do=kill, ",
          "hang, exit or slow:SECONDS, with commas between them"));
    }
  }
  if (!has_rank || !has_kind) {
    return absl::InvalidArgumentError(
        absl::StrCat("WYVERN_FAULT: '", text, "': rank and do are needed"));
  }
  return fault;
}

void Strike(const Fault& fault) {
  switch (fault.kind) {
    case Fault::Kind::kKill:
      std::raise(SIGKILL);
      break;
    case Fault::Kind::kHang:
      std::raise(SIGSTOP);
      break;
    case Fault::Kind::kExit:
      std::_Exit(3);
    case Fault::Kind::kSlow:
      std::this_thread::sleep_for(std::chrono::duration<double>(fault.seconds));
      break;
  }
}

}  // namespace

void BeginStep(int64_t step) {
  current_step = step;
  SetCommActivity(absl::StrCat("step ", step));
}

void BeginPhase(const std::string& phase) {
  SetCommPhase(phase);
  for (const Fault& fault : faults) {
    if (fault.phase == phase && (fault.step == 0 || fault.step == current_step)) Strike(fault);
  }
}

absl::StatusOr<std::vector<Fault>> ParseFaults(const std::string& text) {
  std::vector<Fault> parsed;
  for (const std::string& part :
       std::vector<std::string>(absl::StrSplit(text, ';', absl::SkipWhitespace()))) {
    ASSIGN_OR_RETURN(const Fault fault, ParseFault(part));
    parsed.push_back(fault);
  }
  return parsed;
}

absl::Status ReadFaults(int rank, bool resumed) {
  const char* text = std::getenv("WYVERN_FAULT");
  faults.clear();
  if (text == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<Fault> all, ParseFaults(text));
  for (const Fault& fault : all) {
    if (fault.rank == rank && (!resumed || fault.kind == Fault::Kind::kSlow)) {
      faults.push_back(fault);
    }
  }
  return absl::OkStatus();
}

}  // namespace wyvern
