#include <cstdio>
#include <limits>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/model.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {
namespace {

struct Options {
  std::string checkpoint, dir, dtype = "fp32", family = "auto";
  double max_shard_gb = 5;
  int64_t max_positions = 0;
};

// Token ids and the tokenizer's files, where the checkpoint has a tokenizer.
absl::Status AddTokenizer(const std::string& checkpoint, HfExportOptions* options) {
  const auto tokenizer = LoadCheckpointTokenizer(checkpoint);
  if (absl::IsNotFound(tokenizer.status())) return absl::OkStatus();
  RETURN_IF_ERROR(tokenizer.status());
  nlohmann::json& keep = options->config.keep;
  if ((*tokenizer)->bos_id().has_value()) keep["bos_token_id"] = *(*tokenizer)->bos_id();
  if ((*tokenizer)->eos_id().has_value()) keep["eos_token_id"] = *(*tokenizer)->eos_id();
  options->more_files = (*tokenizer)->files();
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  HfExportOptions out;
  out.config.dtype = options.dtype == "bf16" ? "bfloat16" : "float32";
  out.max_shard_bytes = static_cast<int64_t>(options.max_shard_gb * 1e9);
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(options.checkpoint));
  if (info.meta.is_object() && info.meta.contains("huggingface") &&
      info.meta["huggingface"].is_object()) {
    out.config.keep = info.meta["huggingface"];
  }
  RETURN_IF_ERROR(AddTokenizer(info.path, &out));
  if (options.max_positions > 0) out.config.keep["max_position_embeddings"] = options.max_positions;
  if (options.family != "auto") {
    out.config.family = FindHfFamily(options.family);
  } else if (out.config.keep.contains("model_type") && out.config.keep["model_type"].is_string()) {
    out.config.family = FindHfFamily(out.config.keep["model_type"].get<std::string>());
  }
  ASSIGN_OR_RETURN(const ModelConfig model, CheckpointModelConfig(info));
  const HfSource source = [&](const std::string& name,
                              const Shape& shape) -> absl::StatusOr<Tensor> {
    const Tensor values = Tensor::Empty(shape, DType::kFloat32, Device::kCpu);
    RETURN_IF_ERROR(ReadCheckpoint(info.path, {{absl::StrCat("model/", name), values}},
                                   {.convert_floats = true}));
    return values;
  };
  RETURN_IF_ERROR(SaveHfFolder(model, source, options.dir, out));
  Say(absl::StrCat(info.path, ": ", CountParameters(model), " parameters in ", options.dtype,
                   " -> ", options.dir));
  return absl::OkStatus();
}

}  // namespace

void AddExportCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "export", "Write a Hugging Face folder that flash-linear-attention or transformers load");
  command
      ->add_option("CHECKPOINT", options->checkpoint,
                   "Checkpoint folder, or a run folder, of which the newest is taken")
      ->required();
  command->add_option("HF_DIR", options->dir, "Folder to write; must not exist, or be empty")
      ->required();
  command->add_option("--dtype", options->dtype, "fp32 (default) or bf16")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  std::vector<std::string> families = {"auto"};
  for (const HfFamily* family : HfFamilies()) families.push_back(family->model_type);
  command
      ->add_option("--family", options->family,
                   "auto (default), or of a model of attention layers alone llama or transformer")
      ->check(CLI::IsMember(families));
  command->add_option("--max-shard-gb", options->max_shard_gb, "Largest file in 10^9 bytes (5)")
      ->check(CLI::Range(1e-9, 1e9));
  command
      ->add_option("--max-positions", options->max_positions,
                   "max_position_embeddings of config.json (2048, or as imported)")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  command->callback([=] { *exit_code = ExitCode(Run(*options)); });
}

}  // namespace wyvern
