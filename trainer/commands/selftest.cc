#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/check/op_registry.h"
#include "kernels/runtime/nearest.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"

namespace wyvern {
namespace {

absl::Status RunSelftest(const std::string& device_name, const std::string& op) {
  const Device device = device_name == "cuda" ? Device::kCuda : Device::kCpu;
  std::string why;
  if (device == Device::kCuda && !CudaAvailable(&why)) {
    return absl::FailedPreconditionError(
        absl::StrCat("selftest: --device cuda: ", why, "; use --device cpu"));
  }
  std::vector<std::string> names;
  for (const OpRow& row : OpRegistry()) names.push_back(row.name);
  int64_t num_checks = 0, num_failed = 0, num_rows = 0;
  for (const OpRow& row : OpRegistry()) {
    if (!op.empty() && row.name != op) continue;
    if (++num_rows == 1) {
      std::printf("%-21s %-40s %-24s %-14s %9s %9s\n", "op", "case", "check", "quantity", "error",
                  "limit");
    }
    const std::vector<CheckResult> results = row.check(device);
    for (const CheckResult& r : results) {
      ++num_checks;
      num_failed += r.passed() ? 0 : 1;
      std::printf("%-21s %-40s %-24s %-14s %9.2e %9.2e  %s\n", r.op.c_str(), r.case_name.c_str(),
                  r.check.c_str(), r.quantity.c_str(), r.error, r.limit,
                  r.passed() ? "PASS" : "FAIL");
    }
    std::fflush(stdout);
  }
  if (num_rows == 0) {
    const std::string nearest = Nearest(op, names);
    return absl::NotFoundError(absl::StrCat(
        "selftest: no op is named '", op, "'",
        nearest.empty() ? std::string() : absl::StrCat("; did you mean '", nearest, "'?")));
  }
  std::printf("%lld checks of %lld ops on %s, %lld failed\n", static_cast<long long>(num_checks),
              static_cast<long long>(num_rows), Name(device), static_cast<long long>(num_failed));
  if (num_failed > 0) {
    return absl::InternalError(absl::StrCat("selftest: ", num_failed, " of ", num_checks,
                                            " checks failed on ", Name(device)));
  }
  return absl::OkStatus();
}

}  // namespace

void AddSelftestCommand(CLI::App& app, int* exit_code) {
  struct Options {
    std::string device = "cpu", op;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "selftest", "Check every op's outputs and gradients on this machine, as a table");
  command->add_option("--device", options->device, "cpu or cuda (default cpu)")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command->add_option("--op", options->op, "Only the op of this name");
  command->callback([=] { *exit_code = ExitCode(RunSelftest(options->device, options->op)); });
}

}  // namespace wyvern
