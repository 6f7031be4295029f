// Where kernels say which path they chose, for `wyvern bench ops --explain`. Without a log a note
// costs one comparison.
#ifndef WYVERN_KERNELS_RUNTIME_PLAN_LOG_H_
#define WYVERN_KERNELS_RUNTIME_PLAN_LOG_H_

#include <string>
#include <vector>

namespace wyvern {

struct ChosenPlan {
  std::string kernel;  // "attention backward"
  std::string plan;    // its ToString()
  bool operator==(const ChosenPlan& other) const {
    return kernel == other.kernel && plan == other.plan;
  }
};

// Collects the plans that are chosen while it lives. One at a time, on the thread that runs ops.
class PlanLog {
 public:
  PlanLog();
  ~PlanLog();
  PlanLog(const PlanLog&) = delete;
  PlanLog& operator=(const PlanLog&) = delete;

  // The plans since the last call, in order, those chosen again left out.
  std::vector<ChosenPlan> Take();

  // The log that lives; null: none.
  static PlanLog* Current();
  void Add(ChosenPlan plan);

 private:
  std::vector<ChosenPlan> plans_;
};

// To be called by whoever acts on a plan, with the plan that it follows.
template <class Plan>
void NotePlan(const char* kernel, const Plan& plan) {
  if (PlanLog::Current() != nullptr) PlanLog::Current()->Add({kernel, plan.ToString()});
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_PLAN_LOG_H_
