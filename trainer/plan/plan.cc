#include "trainer/plan/plan.h"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"
#include "trainer/config/load.h"

namespace wyvern {
namespace {

// Ranks of a group from the first to the last, by where the mesh puts them.
int64_t SpanOfGroup(const std::string& group, const MeshShape& mesh) {
  if (group == "context") return mesh.context;
  if (group == "expert") return mesh.expert;
  if (group == "shard") return mesh.shard * mesh.context;
  return mesh.num_ranks();
}

std::vector<PlannedClass> TimeClasses(const SimulatedStep& step, const RunConfig& config,
                                      const GpuSpec& gpu) {
  std::map<std::pair<std::string, Pass>, PlannedClass> classes;
  for (const SimulatedRange& range : step.ranges) {
    const std::string name = Name(range.work_class);
    PlannedClass& c = classes[{name, range.pass}];
    c.name = name;
    c.pass = range.pass;
    c.flops += range.count * range.work.flops;
    c.bytes += range.count * range.work.bytes;
    const double bound =
        std::max(range.work.flops / gpu.peak_flops, range.work.bytes / gpu.copy_bytes);
    const double share =
        ShareOfBound(range.work_class, range.pass, config.model, config.train.recompute);
    c.ms += 1e3 * range.count * bound / share;
  }
  std::vector<PlannedClass> list;
  for (const auto& [key, c] : classes) list.push_back(c);
  return list;
}

// One message between hosts over TCP takes so long, as networks of clusters are said to do. It is
// not measured; one host's is shorter.
constexpr double kRoundMs = 0.04;

// The share of a GPU's memory that a suggestion takes: planned peaks are within 5% of measured
// ones.
constexpr double kSuggestedShare = 0.95;

// Divisors of n, ascending.
std::vector<int64_t> Divisors(int64_t n) {
  std::vector<int64_t> divisors;
  for (int64_t d = 1; d <= n; ++d) {
    if (n % d == 0) divisors.push_back(d);
  }
  return divisors;
}

// Settings of recomputation from the fastest to the smallest.
struct Recomputation {
  RecomputePolicy policy = RecomputePolicy::kNone;
  int64_t blocks = 0;
};

std::vector<Recomputation> Recomputations(int64_t num_layers) {
  return {{RecomputePolicy::kNone, 0},
          {RecomputePolicy::kFused, 0},
          {RecomputePolicy::kElementwise, 0},
          {RecomputePolicy::kProjections, 0},
          {RecomputePolicy::kFused, num_layers / 2},
          {RecomputePolicy::kFused, num_layers}};
}

}  // namespace

double Plan::tokens_per_second() const {
  return static_cast<double>(stage.batch_tokens) / (step_ms() * 1e-3);
}

double Plan::mfu() const { return step.flops / (step_ms() * 1e-3) / options.gpu.peak_flops; }

double Plan::hours() const {
  return static_cast<double>(run.total_tokens()) / tokens_per_second() / 3600;
}

absl::StatusOr<Plan> MakePlan(const RunConfig& config, const PlanOptions& options) {
  Plan plan;
  plan.options = options;
  ASSIGN_OR_RETURN(plan.run,
                   ResolveRun(config, {.num_ranks = options.num_gpus, .simulated = true}));
  plan.stage = plan.run.stages.front();
  ASSIGN_OR_RETURN(plan.step, SimulateStep(plan.run, plan.stage, options.gpus_per_node));
  plan.classes = TimeClasses(plan.step, config, options.gpu);
  for (const PlannedClass& c : plan.classes) plan.compute_ms += c.ms;
  plan.compute_ms /= 1 - kOutsideShare;
  plan.agreement_rounds =
      static_cast<int>(std::bit_width(static_cast<uint64_t>(options.num_gpus - 1)));
  plan.agreement_ms = plan.agreement_rounds * kRoundMs;
  double overlapped = 0;
  for (const auto& [key, volume] : plan.step.volumes) {
    const auto& [group, operation] = key;
    if (group == "world") continue;  // counters, in host memory
    PlannedComm comm{.group = group, .operation = operation, .sent_bytes = volume.sent_bytes};
    comm.inside_node = SpanOfGroup(group, plan.run.mesh) <= options.gpus_per_node;
    comm.ms = 1e3 * volume.sent_bytes /
              (comm.inside_node ? options.gpu.link_bytes : options.gpu.network_bytes);
    plan.communication_ms += comm.ms;
    // Experts wait for the rows that come to them.
    (operation == "all_to_all" ? plan.exposed_ms : overlapped) += comm.ms;
    plan.communication.push_back(comm);
  }
  plan.exposed_ms += std::max(0.0, overlapped - plan.compute_ms) +
                     kOverlapCost * std::min(overlapped, plan.compute_ms);
  return plan;
}

absl::StatusOr<Plan> SuggestPlan(const RunConfig& config, const PlanOptions& options) {
  std::optional<Plan> best;
  absl::Status error;
  bool any = false;
  // The fastest of the candidate's recomputations that fits, if it beats the best.
  const auto consider = [&](RunConfig candidate) {
    for (const Recomputation& r : Recomputations(config.model.num_layers)) {
      candidate.train.recompute = r.policy;
      candidate.train.recompute_blocks = r.blocks;
      absl::StatusOr<Plan> plan = MakePlan(candidate, options);
      if (!plan.ok()) {  // the batch or the mesh: no recomputation changes that
        error = plan.status();
        return;
      }
      any = true;
      if (plan->needed_bytes() > kSuggestedShare * options.gpu.memory_bytes) continue;
      if (!best.has_value() || plan->step_ms() < best->step_ms()) best = *std::move(plan);
      return;  // settings that keep less are slower
    }
  };
  const int64_t num_experts = config.model.moe.has_value() ? config.model.moe->num_experts : 1;
  for (const int64_t shard : Divisors(options.num_gpus / config.parallel.mesh.context)) {
    for (const int64_t expert : Divisors(std::gcd<int64_t>(num_experts, options.num_gpus))) {
      for (int64_t zero = shard == 1 ? 3 : 1; zero <= 3; ++zero) {
        for (const int64_t sequences : Divisors(std::max<int64_t>(config.train.micro_batch, 1))) {
          RunConfig candidate = config;
          candidate.parallel.mesh.replicate = -1;
          candidate.parallel.mesh.shard = shard;
          candidate.parallel.mesh.expert = expert;
          candidate.parallel.zero = zero;
          candidate.train.micro_batch = sequences;
          consider(std::move(candidate));
        }
      }
    }
  }
  if (best.has_value()) return *std::move(best);
  if (!any) return error;
  return absl::NotFoundError(absl::StrCat("no mesh of ", options.num_gpus, " x ", options.gpu.name,
                                          " holds this run: take more GPUs, "
                                          "shorter sequences or a smaller model"));
}

std::string PlanSettings(const RunConfig& from, const Plan& plan) {
  std::string text;
  for (const std::string& line : Differences(from, plan.run.config)) {  // "key: old -> new"
    const std::string key = line.substr(0, line.find(": "));
    const std::string value = line.substr(line.rfind(" -> ") + 4);
    absl::StrAppend(&text, text.empty() ? "--set " : " ", key, "=", value);
  }
  return text;
}

}  // namespace wyvern
