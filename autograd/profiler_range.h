// Names the work of a training step for profilers: NVTX spans, and an observer that a program can
// set to time them itself. Without an observer a span costs one comparison.
#ifndef WYVERN_AUTOGRAD_PROFILER_RANGE_H_
#define WYVERN_AUTOGRAD_PROFILER_RANGE_H_

#include "autograd/work_class.h"

namespace wyvern {

// The part of a training step that a span belongs to.
enum class Pass { kForward, kBackward, kRecompute, kUpdate };

constexpr const char* Name(Pass pass) {
  switch (pass) {
    case Pass::kForward:
      return "forward";
    case Pass::kBackward:
      return "backward";
    case Pass::kRecompute:
      return "recompute";
    case Pass::kUpdate:
      return "update";
  }
  return "?";
}

// Necessary work: FLOPs of matmuls and least bytes moved.
struct Work {
  double flops = 0, bytes = 0;
};

// Hears of every span as it begins and ends on the host; the work between is queued on the compute
// stream by then, not done. Ranges nest.
class RangeObserver {
 public:
  virtual ~RangeObserver() = default;
  virtual void Begin(const char* name, WorkClass work_class, Pass pass) = 0;
  // Ends the innermost span.
  virtual void End(const Work& work) = 0;
};

// From now on spans are reported to `observer` (null: to none), which must outlive that. To be
// called while no span is open, by the thread that trains.
void ObserveRanges(RangeObserver* observer);

// An op, or other work on the compute stream, while it is being queued.
class ProfilerRange {
 public:
  // `name` must outlive every observer: a literal.
  ProfilerRange(const char* name, WorkClass work_class, Pass pass);
  ~ProfilerRange();
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;

  void SetWork(const Work& work) { work_ = work; }

 private:
  Work work_;
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_PROFILER_RANGE_H_
