#include "trainer/op_timer.h"

#include <algorithm>

#include "kernels/ops/delay.h"

namespace wyvern {
namespace {

// The host needs less than this to queue what an op launches before the device has work from it for
// longer than the rest takes to queue.
constexpr double kDelayMicroseconds = 200;
constexpr size_t kEmptyIntervals = 21;

}  // namespace

OpTimer::OpTimer(Device device) : device_(device) {
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
  while (events_.size() < 2 * intervals_.size() + 2) events_.emplace_back(device_);
  Dispatch(device_, DType::kFloat32,
           [](auto tag, auto) { QueueDelay(tag, kDelayMicroseconds, ComputeStream()); });
  events_[2 * intervals_.size()].Record();
  intervals_.push_back(range);
}

void OpTimer::Pause() { events_[2 * intervals_.size() - 1].Record(); }

double OpTimer::IntervalMs(size_t interval) const {
  return events_[2 * interval + 1].MillisecondsSince(events_[2 * interval]);
}

void OpTimer::Begin(const char* name, Pass pass) {
  if (!open_.empty()) Pause();
  open_.push_back(ranges_.size());
  ranges_.push_back({.name = name, .pass = pass});
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
