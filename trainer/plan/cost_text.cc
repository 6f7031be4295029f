#include "trainer/plan/cost_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "layers/model.h"
#include "trainer/config/stages.h"
#include "trainer/plan/flops.h"
#include "trainer/plan/simulate.h"

namespace wyvern {

std::string BytesText(double num_bytes) {
  if (num_bytes >= 1e9) return absl::StrFormat("%.1f GB", num_bytes / 1e9);
  return absl::StrFormat("%.1f MB", num_bytes / 1e6);
}

std::string DescribeCost(const RunConfig& config, const std::string& prefix, int num_ranks) {
  const std::vector<Stage> stages = StagesOf(config);
  double flops = 0;
  for (const Stage& stage : stages) {
    flops += FlopsPerToken(config.model, stage.seq_len).training *
             static_cast<double>(stage.end_token() - stage.first_token);
  }
  const double tokens = static_cast<double>(stages.back().end_token());
  const int64_t parameters = CountParameters(config.model);
  const std::string active =
      config.model.moe.has_value()
          ? absl::StrFormat(", %d active per token", CountActiveParameters(config.model))
          : "";
  const int64_t tables =
      (config.model.tie_embeddings ? 1 : 2) * config.model.vocab_size * config.model.hidden_size;
  std::string text = absl::StrFormat(
      "%sparameters        %d (%d without embedding and head)%s\n"
      "%strain FLOPs       %.4g per token, %.3g in all (%d steps, %.4g tokens)\n",
      prefix, parameters, parameters - tables, active, prefix, flops / std::max(tokens, 1.0), flops,
      stages.back().end_step(), tokens);
  const absl::StatusOr<RunPlan> run =
      ResolveRun(config, {.num_ranks = num_ranks, .simulated = true});
  if (!run.ok()) return text;  // the run itself says why it cannot be
  StepMemory m;                // of the stage that needs most
  for (const Stage& stage : run->stages) {
    const absl::StatusOr<SimulatedStep> step = SimulateStep(*run, stage, num_ranks);
    if (!step.ok()) return text;
    if (step->memory.peak_bytes > m.peak_bytes) m = step->memory;
  }
  const auto bytes = [](int64_t n) { return BytesText(static_cast<double>(n)); };
  absl::StrAppendFormat(
      &text, "%smemory, about     %s%s at the peak; weights %s, gradients %s, optimizer %s\n",
      prefix, bytes(m.peak_bytes), num_ranks > 1 ? " a rank" : "",
      bytes(m.weight_bytes + m.master_bytes), bytes(m.gradient_bytes), bytes(m.optimizer_bytes));
  return text;
}

}  // namespace wyvern
