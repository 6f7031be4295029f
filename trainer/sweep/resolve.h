// The values of one run of a sweep.
#ifndef WYVERN_TRAINER_SWEEP_RESOLVE_H_
#define WYVERN_TRAINER_SWEEP_RESOLVE_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/sweep/sweep_file.h"

namespace wyvern {

// A fault that only follows from one that is reported elsewhere.
absl::Status FollowsFromAnother();
bool FollowsFromAnother(const absl::Status& status);

// Evaluates the expressions of one run, each when another one first needs it.
class RunResolver {
 public:
  // `points` holds one point of each axis of `file`.
  RunResolver(const SweepFile& file, const std::vector<const SweepPoint*>& points);

  // The configuration with every value that could be had. Appends "where: key: message".
  ConfigNode Resolve(std::vector<std::string>* faults);
  // The value of a variable, an axis, a key, or a figure of the model.
  absl::StatusOr<SweepValue> Lookup(const std::string& name);

  // Labels, variables and keys, after Resolve.
  const std::map<std::string, SweepValue>& values() const { return values_; }
  // Expressions that gave no value.
  std::vector<const SweepAssignment*> Failed() const;
  bool uses_cuda() const { return uses_cuda_; }

 private:
  struct Pending {
    const SweepAssignment* assignment;
    enum { kWaiting, kBusy, kDone, kFailed } state = kWaiting;
  };

  absl::Status Settle(Pending* pending);
  absl::StatusOr<SweepValue> Entry(const std::string& table, const SweepValue& key);
  absl::StatusOr<SweepValue> ModelFigure(const std::string& name);
  absl::StatusOr<SweepValue> ConfigKey(const std::string& key);
  absl::Status UnknownName(const std::string& name);
  void Give(const SweepAssignment& assignment, ConfigNode value);

  const SweepFile& file_;
  ConfigNode tree_, base_;  // base_: before the sweep gave its values
  std::map<std::string, SweepValue> values_;
  std::map<std::string, Pending> pending_;
  std::vector<std::string> busy_;  // keys that are being evaluated, outermost first
  std::vector<std::string>* faults_ = nullptr;
  std::map<std::string, SweepValue> figures_;
  bool uses_cuda_ = false;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SWEEP_RESOLVE_H_
