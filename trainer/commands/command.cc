#include "trainer/commands/command.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr char kUsageMark[] = "wyvern/wrong_usage";

}  // namespace

absl::Status AsUsage(absl::Status status) {
  if (absl::IsInvalidArgument(status) || absl::IsNotFound(status)) {
    status.SetPayload(kUsageMark, absl::Cord());
  }
  return status;
}

bool IsUsage(const absl::Status& status) { return status.GetPayload(kUsageMark).has_value(); }

int ExitCode(const absl::Status& status) {
  if (status.ok()) return 0;
  SayError(absl::StrCat("wyvern: ", absl::string_view(status.message())));
  return IsUsage(status) ? kWrongUsage : 1;
}

absl::StatusOr<CheckpointInfo> OpenCheckpointAloud(const std::string& path) {
  ASSIGN_OR_RETURN(CheckpointInfo info, OpenCheckpoint(path));
  for (const std::string& line : info.passed_over) SayError(line);
  SayError(absl::StrCat("reading ", info.path));
  return info;
}

}  // namespace wyvern
