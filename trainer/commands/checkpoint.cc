#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/json.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/average.h"
#include "trainer/checkpoint/model.h"
#include "trainer/checkpoint/read.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/config/load.h"

namespace wyvern {
namespace {

std::string Megabytes(double bytes) { return absl::StrFormat("%.1f MB", bytes * 1e-6); }

absl::Status ShowInfo(const std::string& path, bool list_tensors) {
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(path));
  // By the first part of the names: model, optimizer, tokenizer.
  struct Group {
    int64_t tensors = 0, elements = 0, bytes = 0;
  };
  std::map<std::string, Group> groups;
  for (const CheckpointTensor& tensor : info.tensors) {
    Group& group = groups[tensor.name.substr(0, tensor.name.find('/'))];
    ++group.tensors;
    group.elements += NumElements(tensor.shape);
    group.bytes += NumElements(tensor.shape) * SizeOf(tensor.dtype);
  }
  Say(absl::StrCat("checkpoint  ", info.path, "\nstep        ", info.step, "\nsize        ",
                   Megabytes(info.num_bytes)));
  for (const auto& [name, group] : groups) {
    Say(absl::StrFormat("%-11s %d tensors, %d elements, %s", name, group.tensors, group.elements,
                        Megabytes(group.bytes)));
  }
  if (info.meta.is_object()) {
    for (const auto& [key, value] : info.meta.items()) {
      // As a run's file has it. JSON also has the keys without effect, which such a file must not.
      const absl::StatusOr<ModelConfig> model = CheckpointModelConfig(info);
      if (key == "model" && model.ok()) {
        std::printf("%s", ToYaml(*model).c_str());
      } else if (value.is_string()) {
        const std::string text = value.get<std::string>();
        const bool lines = text.find('\n') != std::string::npos;
        Say(absl::StrCat(key, ":", lines ? "\n" : " ", text));
      } else {
        Say(absl::StrCat(key, ": ", JsonText(value, 2)));
      }
    }
  }
  if (list_tensors) {
    for (const CheckpointTensor& tensor : info.tensors) {
      Say(absl::StrFormat("%-6s %-20s %s", Name(tensor.dtype), ToString(tensor.shape),
                          tensor.name));
    }
  }
  return absl::OkStatus();
}

absl::Status Verify(const std::string& path) {
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(path));
  RETURN_IF_ERROR(VerifyCheckpoint(info.path));
  Say(absl::StrCat(info.path, ": complete and intact: step ", info.step, ", ", info.tensors.size(),
                   " tensors, ", Megabytes(info.num_bytes)));
  return absl::OkStatus();
}

absl::Status Average(const std::string& out, const std::vector<std::string>& names, double decay) {
  if (!(decay > 0 && decay <= 1)) {
    return AsUsage(absl::InvalidArgumentError(
        absl::StrCat("--decay: expected a number in (0, 1], got ", decay)));
  }
  const std::vector<double> weights = AverageWeights(static_cast<int64_t>(names.size()), decay);
  ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> averaged,
                   AverageCheckpoints(out, names, weights));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (size_t i = 0; i < averaged.size(); ++i) {
    std::printf("%.4f  %s\n", weights[i] / total, averaged[i].path.c_str());
  }
  std::printf("the average is in %s\n", out.c_str());
  return absl::OkStatus();
}

}  // namespace

void AddCheckpointCommand(CLI::App& app, int* exit_code) {
  struct Options {
    std::string path;
    bool tensors = false;
    std::vector<std::string> averaged;
    double decay = 1;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("checkpoint", "Describe, verify or average checkpoints");
  command->require_subcommand(1);
  CLI::App* info = command->add_subcommand("info", "Step, sizes, counters and configuration");
  info->add_option("PATH", options->path, kCheckpointHelp)->required();
  info->add_flag("--tensors", options->tensors, "List every tensor");
  info->callback([=] { *exit_code = ExitCode(ShowInfo(options->path, options->tensors)); });
  CLI::App* verify = command->add_subcommand("verify", "Read everything and compare checksums");
  verify->add_option("PATH", options->path, kCheckpointHelp)->required();
  verify->callback([=] { *exit_code = ExitCode(Verify(options->path)); });
  CLI::App* average = command->add_subcommand(
      "average", "Write a checkpoint with the mean of the weights of several");
  average->add_option("OUT", options->path, "Checkpoint folder to write")->required();
  average
      ->add_option("CHECKPOINT", options->averaged,
                   "RUN@STEP, a checkpoint folder or a run folder, of which the newest is taken; "
                   "oldest first")
      ->required()
      ->expected(2, -1);
  average->add_option("--decay", options->decay,
                      "Weight of a checkpoint beside that of the next one (default: 1, all alike)");
  average->callback(
      [=] { *exit_code = ExitCode(Average(options->path, options->averaged, options->decay)); });
}

}  // namespace wyvern
