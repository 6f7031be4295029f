#ifndef WYVERN_TRAINER_REPORT_LOG_FILE_H_
#define WYVERN_TRAINER_REPORT_LOG_FILE_H_

#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// A file that grows by whole records, each one write() where the disk allows. What a full disk
// refuses is kept and written with the next record: a disk may be full for as long as a checkpoint
// is being written that then fails, and a run is not to end for a line of its log.
class LogFile {
 public:
  // Takes over a descriptor that appends.
  LogFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~LogFile();  // writes what was kept, if it can
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // Errors: any but a full disk; a full disk with more than kMaxKept bytes kept.
  absl::Status Append(absl::string_view record);
  // Waits until all records are on disk. Errors: a full disk too. Any thread may call it.
  absl::Status Sync();

  static constexpr size_t kMaxKept = size_t{1} << 20;

 private:
  absl::Status Flush();  // mutex_ is held

  const std::string path_;
  const int fd_;
  std::mutex mutex_;
  std::string kept_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_LOG_FILE_H_
