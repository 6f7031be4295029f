#ifndef WYVERN_TRAINER_BENCH_OP_TIMER_H_
#define WYVERN_TRAINER_BENCH_OP_TIMER_H_

#include <deque>
#include <vector>

#include "autograd/profiler_range.h"
#include "kernels/runtime/event.h"

namespace wyvern {

struct TimedRange {
  const char* name;
  WorkClass work_class;
  Pass pass;
  Work work;
  double ms = 0;  // of its own, without the spans inside it
};

// Times every range between device events. Before each one the device is kept busy until the host
// has queued it, so the times are those of the kernels alone: what a real step takes beyond their
// sum is lost between them. The spans of one step are observed first, to learn how long the host
// needs for each; a device that idled longer than that would run the rest at a higher clock.
class OpTimer : public RangeObserver {
 public:
  // Without `delays` the device is not kept busy: for ops that take longer than their queueing.
  explicit OpTimer(Device device, bool delays = true);

  // Ends the learning: from here on the same spans are expected again in the same order, as often
  // as Take is called.
  void StartTiming();

  void Begin(const char* name, WorkClass work_class, Pass pass) override;
  void End(const Work& work) override;

  // Waits for the device; the spans since the last call or StartTiming, in the order in which they
  // began. None may be open.
  std::vector<TimedRange> Take();

 private:
  // The time of range `range` runs from here.
  void Resume(size_t range);
  void Pause();
  double IntervalMs(size_t interval) const;

  Device device_;
  bool delays_;
  bool learning_ = true;
  std::vector<double> host_us_;  // by interval: how long the host needs to queue it
  Event host_begin_{Device::kCpu}, host_end_{Device::kCpu};
  double empty_ms_ = 0;  // between two events with nothing between them
  std::vector<TimedRange> ranges_;
  std::vector<size_t> open_;       // indices of ranges_
  std::vector<size_t> intervals_;  // the span of each
  std::deque<Event> events_;       // two per interval; kept for the next use
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_BENCH_OP_TIMER_H_
