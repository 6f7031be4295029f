// TensorBoard event files: records of TFRecord framing (length, masked CRC-32C, data, masked
// CRC-32C), each an Event message of tensorflow/core/util/event.proto with scalar summaries.
#ifndef WYVERN_TRAINER_REPORT_TENSORBOARD_H_
#define WYVERN_TRAINER_REPORT_TENSORBOARD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "trainer/report/log_file.h"

namespace wyvern {

class TensorBoardWriter {
 public:
  // Makes the folder if needed and a new file events.out.tfevents.<time>.<host>.<n> in it; files of
  // earlier runs stay. With first_step > 0 (a resumed run) readers drop whatever earlier files hold
  // from first_step on. Readers order files by <time> and events by theirs, so both lie behind all
  // that the folder holds, whatever the clocks said: ahead of the clock if need be.
  static absl::StatusOr<std::unique_ptr<TensorBoardWriter>> Create(const std::string& folder,
                                                                   int64_t first_step = 0);

  // One event with all the scalars of a step, stamped with the time. Each event is one
  // write() of whole records, so that a killed process leaves at most one torn record, at the end,
  // which readers skip. Errors as of LogFile.
  absl::Status AddScalars(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

  const std::string& path() const { return path_; }

 private:
  TensorBoardWriter(const std::string& path, int fd, double ahead)
      : path_(path), file_(path, fd), ahead_(ahead) {}
  // Seconds since the epoch; it never goes back.
  double WallTime();
  absl::Status WriteRecord(absl::string_view event);

  std::string path_;
  LogFile file_;
  const double ahead_;  // of the clock, in seconds
  double last_time_ = 0;
};

// CRC-32C (Castagnoli, polynomial 0x82F63B78).
uint32_t Crc32c(absl::string_view bytes);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_TENSORBOARD_H_
