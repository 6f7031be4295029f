#include "kernels/comm/host/transport.h"

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"

namespace wyvern {

void PeerFailed(const std::string& what, int peer, const std::string& why) {
  CommFailed(absl::StrCat(what, ": waiting for rank ", peer, ": ", why));
}

std::string TimeoutText() {
  return absl::StrCat("no answer within ", CommTimeout(),
                      " s; it hangs, is far behind, or is gone");
}

}  // namespace wyvern
