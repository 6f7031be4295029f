#include "trainer/bench/op_timer.h"

#include <algorithm>

#include "kernels/common/delay.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

// Beyond what the host needed before, and where that is not known.
constexpr double kMarginFactor = 1.3, kMarginMicroseconds = 10, kUnknownMicroseconds = 200;
constexpr size_t kEmptyIntervals = 21;

}  // namespace

OpTimer::OpTimer(Device device, bool delays) : device_(device), delays_(delays) {}

void OpTimer::StartTiming() {
  CHECK(open_.empty(), "a range is open");
  learning_ = false;
  ranges_.clear();
  intervals_.clear();
  while (events_.size() < 2 * host_us_.size()) events_.emplace_back(device_);
  for (size_t i = 0; i < kEmptyIntervals; ++i) {
    Resume(0);
    Pause();
  }
  std::vector<double> times;
  for (size_t i = 0; i < kEmptyIntervals; ++i) times.push_back(IntervalMs(i));
  std::sort(times.begin(), times.end());
  empty_ms_ = times[kEmptyIntervals / 2];
  intervals_.clear();
}

void OpTimer::Resume(size_t range) {
  const size_t interval = intervals_.size();
  intervals_.push_back(range);
  if (learning_) {
    Synchronize(device_);  // the host shall not wait for room in the queue
    host_begin_.Record();
    return;
  }
  while (events_.size() < 2 * interval + 2) events_.emplace_back(device_);
  const double delay = interval < host_us_.size()
                           ? kMarginFactor * host_us_[interval] + kMarginMicroseconds
                           : kUnknownMicroseconds;
  if (delays_) {
    Dispatch(device_, DType::kFloat32,
             [delay](auto tag, auto) { QueueDelay(tag, delay, ComputeStream()); });
  }
  events_[2 * interval].Record();
}

void OpTimer::Pause() {
  if (learning_) {
    host_end_.Record();
    host_us_.push_back(1e3 * host_end_.MillisecondsSince(host_begin_));
  } else {
    events_[2 * intervals_.size() - 1].Record();
  }
}

double OpTimer::IntervalMs(size_t interval) const {
  return events_[2 * interval + 1].MillisecondsSince(events_[2 * interval]);
}

void OpTimer::Begin(const char* name, WorkClass work_class, Pass pass) {
  if (!open_.empty()) Pause();
  open_.push_back(ranges_.size());
  ranges_.push_back({.name = name, .work_class = work_class, .pass = pass});
  Resume(open_.back());
}

void OpTimer::End(const Work& work) {
  Pause();
  ranges_[open_.back()].work = work;
  open_.pop_back();
  if (!open_.empty()) Resume(open_.back());
}

std::vector<TimedRange> OpTimer::Take() {
  CHECK(open_.empty(), "a range is open");
  for (size_t i = 0; i < intervals_.size(); ++i) {
    ranges_[intervals_[i]].ms += std::max(0.0, IntervalMs(i) - empty_ms_);
  }
  intervals_.clear();
  std::vector<TimedRange> ranges;
  ranges.swap(ranges_);
  return ranges;
}

}  // namespace wyvern
