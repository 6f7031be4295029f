#ifndef WYVERN_TRAINER_PARALLEL_RANK_LOG_H_
#define WYVERN_TRAINER_PARALLEL_RANK_LOG_H_

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/comm/world.h"

namespace wyvern {

// The log of one rank, RUN/logs/rank-00003.log, to which it appends lines with the time (UTC)
// before them:
//
//   start-up facts, warnings, a line every few steps
//   waits: OPERATION          it has waited for others for a quarter of parallel.timeout
//   continues after 31 s      and then did not have to any more
//   fails: MESSAGE            the end, also of a failed CHECK or a signal like SIGSEGV
//
// A rank that loses another reads the last line of every rank's log: who neither waits nor failed
// is the one to look at.
class RankLog : public CommObserver {
 public:
  // Makes the folder, and observes communication and crashes until it is destroyed. One at a time.
  // Null on one rank, which has the console.
  static absl::StatusOr<std::unique_ptr<RankLog>> Open(const std::string& run_dir,
                                                       const World& world);
  ~RankLog() override;

  // Newlines in `text` become lines of their own. Any thread; a failure to write is not noticed.
  void Line(const std::string& text) const;

  void Waits(const std::string& what) override;
  void GoesOn(double seconds) override;
  void Warns(const std::string& message) override;
  std::string Fails(const std::string& message) override;

 private:
  RankLog(std::string folder, int rank, std::vector<std::string> hosts, int fd);
  void Sync() const;  // for readers on other hosts

  const std::string folder_;
  const int rank_;
  const std::vector<std::string> hosts_;
  const int fd_;
  std::atomic<bool> waits_{false};
};

// A line in this process's log; without one, nothing.
void LogOfRank(const std::string& text);

// "RUN/logs/rank-00003.log".
std::string RankLogPath(const std::string& run_dir, int rank);

// Concludes from the last lines of the ranks' logs (empty: none) which ranks failed or are suspect,
// for rank `own`, which fails. `waits`: it has waited for long, so that the others have had the
// time to write that they wait too. Empty if there is nothing to conclude.
std::string DescribeOthers(int own, bool waits, const std::vector<std::string>& hosts,
                           const std::vector<std::string>& last_lines);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PARALLEL_RANK_LOG_H_
