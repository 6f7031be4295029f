#include "trainer/report/report.h"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/config/load.h"
#include "trainer/report/comparison.h"
#include "trainer/run/engine.h"

namespace wyvern {
namespace {

struct Options {
  std::vector<std::string> runs;
  std::string output;
};

// The facts that the run folder states besides its metrics.
absl::StatusOr<ReportInput> InputOf(const std::string& run) {
  ASSIGN_OR_RETURN(const RunConfig config, LoadRunConfig(run + "/config.yaml", {}));
  ReportInput input{
      .title = config.run.name,
      .facts = {{"parameters", absl::StrCat(CountParameters(config.model))},
                {"device", absl::StrCat(config.run.device == Device::kCuda ? "cuda" : "cpu", ", ",
                                        config.run.precision == DType::kBf16 ? "bf16" : "fp32")},
                {"configuration", ConfigHash(config)}},
      .config = ToYaml(config)};
  const std::string sample = run + "/sample.txt";
  std::error_code error;
  if (std::filesystem::exists(sample, error)) {
    ASSIGN_OR_RETURN(input.sample, ReadFileOf(kSampleFile, sample));
  }
  return input;
}

absl::Status CheckRun(const std::string& run) {
  std::error_code error;
  if (std::filesystem::exists(run + "/metrics.jsonl", error)) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat(run, ": no run folder with steps, as it holds no metrics.jsonl"));
}

absl::Status Report(const Options& options) {
  for (const std::string& run : options.runs) RETURN_IF_ERROR(CheckRun(run));
  std::string output = options.output;
  if (options.runs.size() == 1) {
    const std::string& run = options.runs[0];
    if (output.empty()) output = run + "/report.html";
    ASSIGN_OR_RETURN(const ReportInput input, InputOf(run));
    RETURN_IF_ERROR(WriteReport(run, input, output));
  } else {
    if (output.empty()) output = "comparison.html";
    std::vector<ComparedRun> runs;
    for (const std::string& run : options.runs) {
      ASSIGN_OR_RETURN(std::string metrics, ReadFileOf(kMetricsFile, run + "/metrics.jsonl"));
      runs.push_back({run, std::move(metrics)});
    }
    ASSIGN_OR_RETURN(const std::string page, RenderComparison(runs));
    RETURN_IF_ERROR(WriteFileAtomically(output, page));
  }
  Say(absl::StrCat("report: ", output));
  return absl::OkStatus();
}

}  // namespace

void AddReportCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "report", "Write the report of a run, also while it trains, or one page of several runs");
  command->add_option("RUN", options->runs, "Run folders; several are compared")->required();
  command->add_option("--output", options->output,
                      "The page (default RUN/report.html; of several runs comparison.html)");
  command->callback([=] { *exit_code = ExitCode(Report(*options)); });
}

}  // namespace wyvern
