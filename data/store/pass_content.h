// The files of one pass over them, to tell that another pass reads the same.
#ifndef WYVERN_DATA_STORE_PASS_CONTENT_H_
#define WYVERN_DATA_STORE_PASS_CONTENT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "data/text/text_source.h"

namespace wyvern {

class PassContent {
 public:
  // The first call keeps the files, which were read to their ends; the others compare theirs with
  // them. FailedPrecondition names what changed.
  absl::Status Check(const std::vector<std::string>& files, const std::vector<ReadFileInfo>& read);

 private:
  bool is_known_ = false;
  std::vector<std::string> files_;
  std::vector<ReadFileInfo> read_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_PASS_CONTENT_H_
