#include "trainer/optimizer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace wyvern {
namespace {

// The share of the way from peak to final at progress p in [0, 1]; exactly 0 and 1 at the ends.
double Fall(DecayShape shape, double p) {
  switch (shape) {
    case DecayShape::kLinear:
      return p;
    case DecayShape::kCosine:
      return p >= 1 ? 1 : 0.5 * (1 - std::cos(std::numbers::pi * p));
    case DecayShape::kOneMinusSqrt:
      return std::sqrt(p);
  }
  return 0;
}

double Between(double from, double to, double share) {
  return share >= 1 ? to : from + (to - from) * share;
}

}  // namespace

Schedule::Schedule(const Stage& stage)
    : Schedule(stage.schedule, stage.WarmupSteps(), stage.DecaySteps(), stage.num_steps) {}

Schedule::Schedule(const ScheduleSection& section, int64_t warmup_steps, int64_t decay_steps,
                   int64_t total_steps)
    : section_(section),
      warmup_steps_(warmup_steps),
      decay_steps_(decay_steps),
      total_steps_(total_steps) {}

double Schedule::RateAt(int64_t update) const {
  if (update < warmup_steps_) {
    return Between(section_.initial, section_.peak,
                   static_cast<double>(update) / static_cast<double>(warmup_steps_));
  }
  switch (section_.type) {
    case ScheduleType::kConstant:
      return section_.peak;
    case ScheduleType::kLinear:
    case ScheduleType::kCosine: {
      const int64_t length = total_steps_ - 1 - warmup_steps_;
      if (length <= 0) return section_.peak;
      const double p = static_cast<double>(update - warmup_steps_) / static_cast<double>(length);
      const DecayShape shape =
          section_.type == ScheduleType::kLinear ? DecayShape::kLinear : DecayShape::kCosine;
      return Between(section_.peak, section_.final, Fall(shape, std::min(p, 1.0)));
    }
    case ScheduleType::kWsd: {
      const int64_t into = update - (total_steps_ - decay_steps_) + 1;
      if (into <= 0) return section_.peak;
      const double p = static_cast<double>(into) / static_cast<double>(decay_steps_);
      return Between(section_.peak, section_.final, Fall(section_.decay_shape, std::min(p, 1.0)));
    }
  }
  return section_.peak;
}

}  // namespace wyvern
