// The sums by class of work and the text of `wyvern bench step`.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/runtime/memory_text.h"
#include "trainer/bench/step_bench.h"

namespace wyvern {
namespace {

std::string Row(const std::string& name, const std::string& pass, double num_ranges, double ms,
                double step_ms) {
  return absl::StrFormat("%-21s %-9s %6.0f %9.2f %6.1f%%", name, pass, num_ranges, ms,
                         100 * ms / step_ms);
}

// "-" where there is nothing to divide.
std::string Figure(double value, const char* unit = "") {
  return value > 0 ? absl::StrFormat("%.*f%s",
                                     value >= 100  ? 0
                                     : value >= 10 ? 1
                                                   : 2,
                                     value, unit)
                   : "-";
}

}  // namespace

std::vector<ClassTime> SumByClass(const std::vector<TimedRange>& ranges, int64_t num_steps,
                                  const DeviceRates& rates) {
  std::map<std::pair<WorkClass, Pass>, ClassTime> sums;
  const double share = 1.0 / static_cast<double>(num_steps);
  for (const TimedRange& range : ranges) {
    ClassTime& sum = sums[{range.work_class, range.pass}];
    sum.name = Name(range.work_class);
    sum.pass = range.pass;
    sum.num_ranges += share;
    sum.ms += share * range.ms;
    sum.flops += share * range.work.flops;
    sum.bytes += share * range.work.bytes;
    sum.bound_ms += share * rates.BoundMs(range.work.flops, range.work.bytes);
  }
  std::vector<ClassTime> classes;
  for (const auto& [key, sum] : sums) classes.push_back(sum);
  return classes;
}

nlohmann::json ClassesJson(const std::vector<ClassTime>& classes) {
  nlohmann::json json = nlohmann::json::array();
  for (const ClassTime& c : classes) {
    json.push_back({{"class", c.name},
                    {"pass", Name(c.pass)},
                    {"ranges", c.num_ranges},
                    {"ms", c.ms},
                    {"flops", c.flops},
                    {"bytes", c.bytes},
                    {"bound_ms", c.bound_ms}});
  }
  return json;
}

std::string StepBench::Table() const {
  const double step = MedianMs();
  const auto [least, most] = std::minmax_element(step_ms.begin(), step_ms.end());
  std::string text = absl::StrFormat(
      "%s (%d parameters), %s, %d x %d tokens%s%s\n%s\n"
      "step          %.2f ms, median of %d (%.2f to %.2f)\n"
      "tokens/s      %.0f\n",
      model, num_parameters, precision, options.sequences, options.seq_len,
      options.micro_batches > 1 ? absl::StrCat(", ", options.micro_batches, " micro batches") : "",
      recompute_blocks > 0 ? absl::StrCat(", ", recompute_blocks, " blocks recomputed") : "",
      rates.Describe(), step, static_cast<int>(step_ms.size()), *least, *most, TokensPerSecond());
  if (num_ranks > 1) absl::StrAppendFormat(&text, "ranks         %d: %s\n", num_ranks, mesh);
  if (Mfu() > 0) absl::StrAppendFormat(&text, "MFU           %.1f%%\n", 100 * Mfu());
  absl::StrAppendFormat(&text,
                        "products      %.2f TFLOP/s\n"
                        "peak memory   %s, of which %s parameters, gradients and "
                        "optimizer\n"
                        "first step    ended %.1f s after the process started\n\n",
                        flops / (step * 1e-3) / 1e12, MemoryText(static_cast<double>(peak_bytes)),
                        MemoryText(static_cast<double>(state_bytes)), first_step_seconds);
  absl::StrAppendFormat(&text, "%-21s %-9s %6s %9s %7s %8s %7s %9s %9s\n", "class", "pass",
                        "ranges", "ms", "of step", "TFLOP/s", "TB/s", "bound ms", "of bound");
  std::map<Pass, ClassTime> passes;
  for (const ClassTime& c : classes) {
    const double seconds = std::max(c.ms, 1e-6) * 1e-3;
    absl::StrAppendFormat(&text, "%s %8s %7s %9s %9s\n",
                          Row(c.name, Name(c.pass), c.num_ranges, c.ms, step),
                          Figure(c.flops / seconds / 1e12), Figure(c.bytes / seconds / 1e12),
                          Figure(c.bound_ms), Figure(100 * c.bound_ms / (seconds * 1e3), "%"));
    passes[c.pass].num_ranges += c.num_ranges;
    passes[c.pass].ms += c.ms;
  }
  for (const auto& [pass, sum] : passes) {
    absl::StrAppend(&text, Row("all classes", Name(pass), sum.num_ranges, sum.ms, step), "\n");
  }
  absl::StrAppend(&text, Row("outside, launch gaps", "", 0, OutsideMs(), step), "\n",
                  Row("step", "", 0, step, step), "\n");
  return text;
}

nlohmann::json StepBench::Json() const {
  nlohmann::json json = {{"framework", "wyvern"},
                         {"model", model},
                         {"device", rates.device},
                         {"precision", precision},
                         {"parameters", num_parameters},
                         {"sequences", options.sequences},
                         {"seq_len", options.seq_len},
                         {"micro_batches", options.micro_batches},
                         {"recompute_blocks", recompute_blocks},
                         {"steps", options.steps},
                         {"step_ms", MedianMs()},
                         {"step_ms_min", *std::min_element(step_ms.begin(), step_ms.end())},
                         {"step_ms_max", *std::max_element(step_ms.begin(), step_ms.end())},
                         {"tokens_per_s", TokensPerSecond()},
                         {"flops", flops},
                         {"peak_bytes", peak_bytes},
                         {"state_bytes", state_bytes},
                         {"ranks", num_ranks},
                         {"mesh", mesh},
                         {"first_step_s", first_step_seconds},
                         {"first_loss", first_loss},
                         {"last_loss", last_loss},
                         {"copy_bytes_per_s", rates.bytes},
                         {"outside_ms", OutsideMs()}};
  if (Mfu() > 0) json["mfu"] = Mfu();
  json["classes"] = ClassesJson(classes);
  return json;
}

}  // namespace wyvern
