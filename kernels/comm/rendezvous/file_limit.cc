#include "kernels/comm/rendezvous/file_limit.h"

#include <sys/resource.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

// Stores, logs and checkpoints of a run, and strangers at its ports.
constexpr int64_t kOtherFiles = 256;

}  // namespace

absl::Status AllowSocketsOf(int64_t num_ranks) {
  const auto needed = static_cast<rlim_t>(num_ranks + kOtherFiles);
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return absl::InternalError(absl::StrCat("getrlimit: ", std::strerror(errno)));
  }
  if (limit.rlim_cur >= needed) return absl::OkStatus();
  if (limit.rlim_max < needed) {
    return absl::FailedPreconditionError(absl::StrCat(
        "a run of ", num_ranks, " ranks over TCP needs ", needed, " open files a rank, and the ",
        "limit is ", limit.rlim_max, "; raise it (ulimit -n, nofile in limits.conf or the ",
        "container's settings), or start the ranks by mpirun"));
  }
  limit.rlim_cur = needed;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return absl::InternalError(absl::StrCat("setrlimit: ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace wyvern
