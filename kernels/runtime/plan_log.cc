#include "kernels/runtime/plan_log.h"

#include <algorithm>
#include <utility>

#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

PlanLog* current_log = nullptr;

}  // namespace

PlanLog::PlanLog() {
  CHECK(current_log == nullptr, "another log of plans is alive");
  current_log = this;
}

PlanLog::~PlanLog() { current_log = nullptr; }

PlanLog* PlanLog::Current() { return current_log; }

void PlanLog::Add(ChosenPlan plan) {
  if (std::find(plans_.begin(), plans_.end(), plan) == plans_.end()) {
    plans_.push_back(std::move(plan));
  }
}

std::vector<ChosenPlan> PlanLog::Take() { return std::exchange(plans_, {}); }

}  // namespace wyvern
