#include "trainer/plan/simulate.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/ops/head/linear_cross_entropy.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/status.h"
#include "trainer/loop/train_step.h"
#include "trainer/run/engine.h"

namespace wyvern {
namespace {

// Each span with the work it says; spans nest, and the outer one's work is its own. And the range
// in which the memory was at its peak.
class RangeList : public RangeObserver {
 public:
  void Begin(const char* name, WorkClass work_class, Pass pass) override {
    LookAtPeak();
    open_.push_back(ranges_.size());
    ranges_.push_back({.name = name, .work_class = work_class, .pass = pass, .work = {}});
  }
  void End(const Work& work) override {
    LookAtPeak();
    ranges_[open_.back()].work = work;
    open_.pop_back();
  }
  std::vector<SimulatedRange> Take() { return std::move(ranges_); }
  // The outermost one; empty: outside of all.
  const std::string& peak_range() {
    LookAtPeak();
    return peak_range_;
  }

 private:
  // The open spans did what has changed since the last call.
  void LookAtPeak() {
    const int64_t peak = GetMemoryStats(Device::kMeta).peak_bytes;
    if (peak <= peak_bytes_) return;
    peak_bytes_ = peak;
    if (open_.empty()) {
      peak_range_.clear();
    } else {
      const SimulatedRange& range = ranges_[open_.front()];
      peak_range_ = absl::StrCat(range.name, ", ", Name(range.pass));
    }
  }

  std::vector<SimulatedRange> ranges_;
  std::vector<size_t> open_;
  int64_t peak_bytes_ = 0;
  std::string peak_range_;
};

Batch FullLengthDocuments(int64_t count, int64_t length) {
  const std::vector<int32_t> zeros(static_cast<size_t>(count * length));
  return {.tokens = zeros, .targets = zeros, .cu_seqlens = EqualSequences(count, length)};
}

int64_t MetaBytes() { return GetMemoryStats(Device::kMeta).current_bytes; }

// The step with this many micro batches, the second one after the start.
absl::StatusOr<SimulatedStep> Simulate(const RunPlan& run, const Stage& stage, int gpus_per_node,
                                       int64_t micro_batches) {
  SimulatedStep step{.micro_batches = micro_batches};
  const int num_gpus = static_cast<int>(run.mesh.num_ranks());
  CommVolumes volumes;
  const std::unique_ptr<World> world =
      World::Meta(num_gpus, std::min(num_gpus, gpus_per_node), &volumes);
  const int64_t before = MetaBytes();
  ASSIGN_OR_RETURN(const Engine engine, MakeEngine(run, world.get()));
  StepMemory& memory = step.memory;
  memory.optimizer_bytes = engine.optimizer->state_bytes();
  for (Unit& unit : engine.model->units()) {
    for (const FlatParameters* flat : unit.flats()) {
      const int64_t size = flat->shard_size();
      const int64_t count = flat->num_elements();
      const int64_t master = SizeOf(flat->master_shard().dtype());
      const Sharding& sharding = flat->sharding();
      memory.weight_bytes += SizeOf(flat->values().dtype()) * (sharding.values() ? size : count);
      if (flat->values().dtype() != flat->master_shard().dtype()) {
        memory.master_bytes += master * size;
      }
      memory.gradient_bytes += master * (sharding.gradients() ? size : count);
    }
  }
  const std::vector<Batch> batches(static_cast<size_t>(micro_batches),
                                   FullLengthDocuments(stage.micro_batch, stage.seq_len));
  const auto train = [&](int64_t update) {
    return TrainStep(engine.model.get(), engine.optimizer.get(), batches, stage.schedule.peak,
                     run.config.train.grad_clip, update, engine.parallel.get());
  };
  train(1);
  ResetPeakBytes(Device::kMeta);
  volumes.clear();
  RangeList ranges;
  ObserveRanges(&ranges);
  step.flops = train(2).flops;
  ObserveRanges(nullptr);
  step.volumes = volumes;
  memory.peak_bytes = GetMemoryStats(Device::kMeta).peak_bytes - before;
  memory.peak_range = ranges.peak_range();
  // The backward has the gradients that the forward has made, and no slices.
  if (memory.peak_range == absl::StrCat(LinearCrossEntropy::kName, ", ", Name(Pass::kForward))) {
    memory.logit_bytes = LinearCrossEntropySliceBytes(
        stage.micro_batch * stage.seq_len / run.mesh.context, run.config.model.vocab_size,
        run.config.model.hidden_size, run.compute, Device::kMeta);
  }
  step.ranges = ranges.Take();
  return step;
}

// Extends the steps of one and of two micro batches to more: each further one adds
// what the second added.
SimulatedStep Extrapolate(const SimulatedStep& one, SimulatedStep two, int64_t micro_batches) {
  const double more = static_cast<double>(micro_batches - 2);
  two.flops += more * (two.flops - one.flops);
  std::map<std::pair<std::string, Pass>, double> first, second;
  for (const SimulatedRange& r : one.ranges) first[{r.name, r.pass}] += 1;
  for (const SimulatedRange& r : two.ranges) second[{r.name, r.pass}] += 1;
  for (SimulatedRange& r : two.ranges) {
    const double added = second[{r.name, r.pass}] - first[{r.name, r.pass}];
    r.count += more * added / second[{r.name, r.pass}];
  }
  for (auto& [key, volume] : two.volumes) {
    const auto found = one.volumes.find(key);
    const CommVolume before = found == one.volumes.end() ? CommVolume() : found->second;
    volume.num_calls += (micro_batches - 2) * (volume.num_calls - before.num_calls);
    volume.sent_bytes += more * (volume.sent_bytes - before.sent_bytes);
  }
  two.micro_batches = micro_batches;
  return two;
}

}  // namespace

absl::StatusOr<SimulatedStep> SimulateStep(const RunPlan& run, const Stage& stage,
                                           int gpus_per_node) {
  CHECK(run.device == Device::kMeta, "a simulated step is of a simulated run");
  const int64_t micro_batches = run.MicroBatchesOfRank(stage);
  ASSIGN_OR_RETURN(SimulatedStep step,
                   Simulate(run, stage, gpus_per_node, std::min<int64_t>(micro_batches, 2)));
  if (micro_batches <= 2) return step;
  ASSIGN_OR_RETURN(const SimulatedStep one, Simulate(run, stage, gpus_per_node, 1));
  return Extrapolate(one, std::move(step), micro_batches);
}

}  // namespace wyvern
