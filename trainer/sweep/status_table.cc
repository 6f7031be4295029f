#include "trainer/sweep/status_table.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/device.h"
#include "trainer/bench/device_rates.h"
#include "trainer/config/stages.h"
#include "trainer/report/chart.h"
#include "trainer/report/console.h"

namespace wyvern {
namespace {

constexpr double kAssumedShare = 0.4;  // of the rate of large matmuls

std::string Hours(double seconds) {
  const double hours = seconds / 3600;
  return absl::StrFormat("%.*f", hours < 10 ? 3 : 1, hours);
}

size_t NameWidth(const SweepPlan& plan) {
  size_t width = 3;
  for (const SweepRun& run : plan.runs) width = std::max(width, run.name.size());
  return width;
}

std::string Optional(const std::optional<double>& value, const char* format) {
  if (!value.has_value()) return "-";
  return absl::StrFormat(*absl::ParsedFormat<'f'>::New(format), *value);
}

}  // namespace

SweepRate ChooseRate(const SweepPlan& plan, const std::vector<RunState>& states, double given) {
  if (given > 0) return {given, "given"};
  std::vector<double> reached;
  for (size_t i = 0; i < states.size(); ++i) {
    if (states[i].tokens_per_s.has_value()) {
      reached.push_back(*states[i].tokens_per_s * plan.runs[i].flops_per_token);
    }
  }
  if (!reached.empty()) {
    std::nth_element(reached.begin(), reached.begin() + reached.size() / 2, reached.end());
    return {reached[reached.size() / 2],
            absl::StrCat("measured: the median of ", reached.size(),
                         reached.size() == 1 ? " run" : " runs", " of this sweep")};
  }
  const bool cuda = plan.runs.front().config.run.device == Device::kCuda;
  if (cuda && !CudaAvailable()) return {0, "no rate is known: the runs need a GPU; give --rate"};
  const DeviceRates rates = MeasureRates(cuda ? Device::kCuda : Device::kCpu);
  return {
      kAssumedShare * rates.flops,
      absl::StrFormat("assumed: %.0f%% of %s, %s", 100 * kAssumedShare, rates.device,
                      rates.data_sheet ? "data sheet, dense bf16" : "measured on a large matmul")};
}

std::string PlanTable(const SweepPlan& plan, const std::vector<RunState>& states,
                      const SweepRate& rate) {
  const int width = static_cast<int>(NameWidth(plan));
  std::string text = absl::StrFormat("%-*s %13s %9s %8s %10s %9s  %s\n", width, "run", "parameters",
                                     "tokens", "steps", "FLOPs", "hours", "state");
  double flops = 0, tokens = 0, left = 0;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const SweepRun& run = plan.runs[i];
    absl::StrAppendFormat(&text, "%-*s %13s %9s %8d %10.3g %9s  %s\n", width, run.name,
                          GroupedNumber(run.parameters), ShortNumber(run.Tokens()), run.Steps(),
                          run.Flops(), rate.flops > 0 ? Hours(run.Flops() / rate.flops) : "-",
                          Name(states[i].stage));
    flops += run.Flops();
    tokens += run.Tokens();
    const double share = static_cast<double>(states[i].step) / static_cast<double>(run.Steps());
    left += run.Flops() * std::max(0.0, 1 - share);
  }
  absl::StrAppendFormat(&text, "%-*s %13s %9s %8s %10.3g %9s\n", width, "all", "",
                        ShortNumber(tokens), "", flops,
                        rate.flops > 0 ? Hours(flops / rate.flops) : "-");
  if (rate.flops > 0) {
    absl::StrAppendFormat(&text,
                          "hours of training steps alone, one run at a time, at %.4g TFLOP/s "
                          "(%s); %s hours are left\n",
                          rate.flops / 1e12, rate.source, Hours(left / rate.flops));
  } else {
    absl::StrAppend(&text, rate.source, "\n");
  }
  return text;
}

std::vector<std::string> StatusLines(const SweepPlan& plan, const std::vector<RunState>& states,
                                     size_t max_rows) {
  const int width = static_cast<int>(NameWidth(plan));
  const bool all = plan.runs.size() <= max_rows;
  std::vector<std::string> lines = {absl::StrFormat("%-*s %-8s %15s %8s %10s %10s %9s", width,
                                                    "run", "state", "step", "loss", "validation",
                                                    "tokens/s", "left")};
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const SweepRun& run = plan.runs[i];
    const RunState& state = states[i];
    const bool matters = state.stage == RunStage::kRunning || state.stage == RunStage::kFailed;
    if (!all && (!matters || lines.size() > max_rows)) continue;
    std::string left = "-";
    if (state.stage == RunStage::kRunning && state.tokens_per_s.value_or(0) > 0) {
      const int64_t done = TokensBefore(run.stages, state.step);
      left = DurationText((run.Tokens() - static_cast<double>(done)) / *state.tokens_per_s);
    }
    lines.push_back(absl::StrFormat("%-*s %-8s %15s %8s %10s %10s %9s", width, run.name,
                                    Name(state.stage), absl::StrCat(state.step, "/", run.Steps()),
                                    Optional(state.loss, "%.4f"), Optional(state.val_loss, "%.4f"),
                                    Optional(state.tokens_per_s, "%.0f"), left));
    if (state.unreadable > 0) {
      absl::StrAppend(&lines.back(), "  (", state.unreadable, " damaged lines in metrics.jsonl)");
    }
  }
  lines.push_back(CountText(states));
  return lines;
}

std::string CountText(const std::vector<RunState>& states) {
  std::vector<std::string> parts;
  for (const RunStage stage : {RunStage::kFinished, RunStage::kRunning, RunStage::kFailed,
                               RunStage::kStopped, RunStage::kWaiting}) {
    const auto count = std::count_if(states.begin(), states.end(),
                                     [&](const RunState& s) { return s.stage == stage; });
    if (count > 0) parts.push_back(absl::StrCat(count, " ", Name(stage)));
  }
  return absl::StrJoin(parts, ", ");
}

std::string FailureText(const SweepPlan& plan, const std::vector<RunState>& states) {
  std::string text;
  for (size_t i = 0; i < states.size(); ++i) {
    if (states[i].stage != RunStage::kFailed) continue;
    absl::StrAppend(&text, "  ", plan.runs[i].name, ": exit code ", states[i].exit_code, ": ",
                    LastLogLine(plan.runs[i]), "\n    log: ", plan.runs[i].LogPath(), "\n");
  }
  return text;
}

}  // namespace wyvern
