// The text of `wyvern plan`.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/config/fields.h"
#include "trainer/plan/cost_text.h"
#include "trainer/plan/parts.h"
#include "trainer/plan/plan.h"

namespace wyvern {
namespace {

std::string DescribeMesh(const Plan& plan) {
  const MeshShape& mesh = plan.run.mesh;
  std::string text = absl::StrCat("replicate ", mesh.replicate, ", shard ", mesh.shard);
  if (mesh.shard > 1) absl::StrAppend(&text, " (zero ", plan.run.config.parallel.zero, ")");
  if (mesh.context > 1) absl::StrAppend(&text, ", context ", mesh.context);
  if (mesh.expert > 1) absl::StrAppend(&text, ", expert ", mesh.expert);
  return text;
}

std::string MemoryText(const Plan& plan) {
  std::string text = "memory of a GPU at the peak\n";
  const auto line = [&text](const std::string& name, int64_t bytes) {
    absl::StrAppendFormat(&text, "  %-26s %9s", name, BytesText(static_cast<double>(bytes)));
  };
  for (const PlannedMemory& part : MemoryParts(plan.step.memory)) {
    line(part.name, part.bytes);
    text += "\n";
  }
  line("peak of tensors", plan.step.memory.peak_bytes);
  const std::string& range = plan.step.memory.peak_range;
  text += range.empty() ? "\n" : absl::StrCat("  in ", range, "\n");
  absl::StrAppendFormat(&text, "  %-26s %9s  of %s: %s\n", "with the driver's share",
                        BytesText(plan.needed_bytes()), BytesText(plan.options.gpu.memory_bytes),
                        plan.fits() ? "fits" : "DOES NOT FIT");
  return text;
}

std::string CommunicationText(const Plan& plan) {
  if (plan.communication.empty()) return "";
  std::string text = "communication of a GPU and step\n";
  for (const PlannedComm& c : plan.communication) {
    absl::StrAppendFormat(&text, "  %-10s %-15s %9s  %8.1f ms over %s\n", c.group, c.operation,
                          BytesText(c.sent_bytes), c.ms, c.inside_node ? "NVLink" : "the network");
  }
  const bool hides = plan.exposed_ms < 0.5 * plan.communication_ms;
  absl::StrAppendFormat(
      &text, "  %.1f ms beside %.1f ms of computation: %s; about %.1f ms of it are seen\n",
      plan.communication_ms, plan.compute_ms, hides ? "most of it hides" : "it does NOT hide",
      plan.exposed_ms);
  absl::StrAppendFormat(
      &text, "  the step's agreement, %d rounds in host memory: %.2f ms behind the backward\n",
      plan.agreement_rounds, plan.agreement_ms);
  return text;
}

}  // namespace

std::vector<PlannedMemory> MemoryParts(const StepMemory& memory) {
  std::vector<PlannedMemory> parts = {{"weights", memory.weight_bytes},
                                      {"master weights, fp32", memory.master_bytes},
                                      {"gradients", memory.gradient_bytes},
                                      {"optimizer", memory.optimizer_bytes}};
  if (memory.logit_bytes > 0) parts.push_back({"slices of logits", memory.logit_bytes});
  parts.push_back({"activations and buffers", memory.passing_bytes()});
  return parts;
}

std::string PlanText(const Plan& plan) {
  const PlanOptions& options = plan.options;
  const RunConfig& config = plan.run.config;
  std::string text = absl::StrFormat(
      "%s on %d x %s, %d to a node: %s\n"
      "%d micro batches of %d x %d tokens a GPU and step, %d tokens a step, recompute %s%s\n",
      config.run.name, options.num_gpus, options.gpu.name, options.gpus_per_node,
      DescribeMesh(plan), plan.step.micro_batches, plan.stage.micro_batch, plan.stage.seq_len,
      plan.stage.batch_tokens, kRecomputeNames[static_cast<int>(config.train.recompute)],
      config.train.recompute_blocks > 0
          ? absl::StrCat(", ", config.train.recompute_blocks, " blocks whole")
          : "");
  absl::StrAppend(&text, "\n", DescribeParts(config.model, plan.stage.seq_len), "\n",
                  MemoryText(plan), "\n", CommunicationText(plan),
                  plan.communication.empty() ? "" : "\n");
  absl::StrAppendFormat(&text, "time of a GPU and step\n");
  for (const PlannedClass& c : plan.classes) {
    if (c.ms < 5e-4 * plan.step_ms()) continue;
    absl::StrAppendFormat(&text, "  %-22s %-9s %9.1f ms %5.1f%%\n", c.name, Name(c.pass), c.ms,
                          100 * c.ms / plan.step_ms());
  }
  const double days = plan.hours() / 24;
  absl::StrAppendFormat(&text,
                        "  step                             %9.1f ms\n\n"
                        "tokens/s      %.0f, %.0f a GPU\n"
                        "MFU           %.1f%% of %.0f TFLOP/s\n"
                        "run           %d steps, %.4g tokens: %.1f h (%.1f days), %.0f GPU-hours\n",
                        plan.step_ms(), plan.tokens_per_second(),
                        plan.tokens_per_second() / options.num_gpus, 100 * plan.mfu(),
                        options.gpu.peak_flops / 1e12, plan.run.total_steps(),
                        static_cast<double>(plan.run.total_tokens()), plan.hours(), days,
                        plan.hours() * options.num_gpus);
  if (!options.gpu.measured) {
    absl::StrAppend(&text,
                    "Rates are those of an H100 relative to its bounds; Wyvern was not measured "
                    "on this GPU.\n");
  }
  return text;
}

}  // namespace wyvern
