#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "data/io/printable.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/scaling/analysis.h"
#include "trainer/scaling/fit_output.h"
#include "trainer/scaling/points.h"
#include "trainer/sweep/sweep_file.h"

namespace wyvern {
namespace {

struct Options {
  std::string sweep, points, output;
  int draws = 1000;
  uint64_t seed = 1;
};

absl::Status Fit(const Options& options) {
  std::string output = options.output;
  ScalingPoints points;
  if (options.points.empty()) {
    ASSIGN_OR_RETURN(points, PointsOfSweep(options.sweep));
    std::error_code error;
    if (output.empty() && std::filesystem::is_directory(options.sweep, error)) {
      output = options.sweep;
    } else if (output.empty()) {
      ASSIGN_OR_RETURN(const FitSource source, ReadFitSource(options.sweep));
      output = source.dir;
    }
  } else {
    ASSIGN_OR_RETURN(points, PointsOfCsv(options.points));
  }
  const ScalingAnalysis analysis =
      Analyze(points, {.num_draws = options.draws, .seed = options.seed});
  std::printf("%s", Printable(FitTable(analysis)).c_str());
  if (points.points.empty()) {
    return absl::FailedPreconditionError("no point is left to fit a law to");
  }
  if (output.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(WriteFit(output, analysis));
  Say(absl::StrCat("\nreport: ", output, "/report.html\nfits:   ", output, "/fit.json"));
  return absl::OkStatus();
}

}  // namespace

void AddFitCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("fit", "Fit scaling laws to the runs of a sweep, or to points of a file");
  CLI::App* sources = command->add_option_group("source");
  sources->add_option("SWEEP", options->sweep, "the sweep's folder or YAML file");
  sources->add_option(
      "--points", options->points,
      "CSV with a header: family, compute (PFLOP/s-days), parameters, tokens, loss");
  sources->require_option(1);
  command->add_option("--output", options->output,
                      "folder of report.html and fit.json (default: the sweep's)");
  command->add_option("--draws", options->draws, "Draws of the bootstrap")
      ->check(CLI::Range(100, 1000000));
  command->add_option("--seed", options->seed, "Seed of the bootstrap");
  command->callback([=] { *exit_code = ExitCode(Fit(*options)); });
}

}  // namespace wyvern
