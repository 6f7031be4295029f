#include "data/prefetcher.h"

#include <utility>

#include "kernels/runtime/check.h"

namespace wyvern {

Prefetcher::Prefetcher(MakeBatch make, int64_t first, int64_t step, int depth)
    : make_(std::move(make)), depth_(depth) {
  CHECK(depth > 0 && step > 0);
  thread_ = std::thread([this, first, step] { Run(first, step); });
}

Prefetcher::~Prefetcher() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

absl::StatusOr<Batch> Prefetcher::Next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty(); });
  if (!ready_.front().ok()) return ready_.front().status();  // stays: the thread has ended
  absl::StatusOr<Batch> batch = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return batch;
}

void Prefetcher::Run(int64_t first, int64_t step) {
  for (int64_t consumed = first;; consumed += step) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || ready_.size() < depth_; });
      if (stop_) return;
    }
    absl::StatusOr<Batch> batch = make_(consumed);
    const bool failed = !batch.ok();
    {
      std::lock_guard lock(mutex_);
      ready_.push_back(std::move(batch));
    }
    changed_.notify_all();
    if (failed) return;
  }
}

}  // namespace wyvern
