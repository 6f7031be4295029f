#include "data/sampling/prefetcher.h"

#include <utility>

#include "kernels/runtime/catch.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

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
  changed_.wait(lock, [this] { return !ready_.empty() || !failure_.ok(); });
  if (ready_.empty()) return failure_;
  Batch batch = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return batch;
}

void Prefetcher::Run(int64_t first, int64_t step) {
  const absl::Status status = CatchAll([&] { return MakeAll(first, step); });
  std::lock_guard lock(mutex_);
  failure_ = status;
  changed_.notify_all();
}

absl::Status Prefetcher::MakeAll(int64_t first, int64_t step) {
  for (int64_t consumed = first;; consumed += step) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || ready_.size() < depth_; });
      if (stop_) return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(Batch batch, make_(consumed));
    {
      std::lock_guard lock(mutex_);
      ready_.push_back(std::move(batch));
    }
    changed_.notify_all();
  }
}

}  // namespace wyvern
