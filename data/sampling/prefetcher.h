// Prepares the next batches on a thread of its own, so that reading never holds the step.
#ifndef WYVERN_DATA_SAMPLING_PREFETCHER_H_
#define WYVERN_DATA_SAMPLING_PREFETCHER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/sampling/batch.h"

namespace wyvern {

// The n-th Next() returns make(first + n * step): batches by their numbers, say, of which a rank
// makes every step-th. The caller keeps and saves the position.
class Prefetcher {
 public:
  using MakeBatch = std::function<absl::StatusOr<Batch>(int64_t number)>;

  Prefetcher(MakeBatch make, int64_t first, int64_t step, int depth = 4);
  ~Prefetcher();  // stops the thread, after the batch it is making

  // Waits for the next batch. After an error every further call returns the same error.
  absl::StatusOr<Batch> Next();

 private:
  void Run(int64_t first, int64_t step);
  absl::Status MakeAll(int64_t first, int64_t step);

  const MakeBatch make_;
  const size_t depth_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  absl::Status failure_;  // that ended the thread
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_SAMPLING_PREFETCHER_H_
