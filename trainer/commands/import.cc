#include "trainer/commands/import.h"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint_model.h"
#include "trainer/commands/command.h"
#include "trainer/hf/hf_folder.h"

namespace wyvern {
namespace {

struct Options {
  std::string dir, checkpoint, tokenizer;
};

// The one asked for, else the folder's SentencePiece model; null if there is none.
absl::StatusOr<std::unique_ptr<Tokenizer>> ChooseTokenizer(const Options& options,
                                                           int64_t vocab_size) {
  std::string source = options.tokenizer;
  if (source.empty()) {
    source = absl::StrCat(options.dir, "/tokenizer.model");
    std::error_code ignored;
    if (!std::filesystem::exists(source, ignored)) return nullptr;
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(source));
  if (tokenizer->vocab_size() > vocab_size) {
    return absl::FailedPreconditionError(absl::StrCat(source, ": the tokenizer has ",
                                                      tokenizer->vocab_size(),
                                                      " tokens, the model ", vocab_size));
  }
  return tokenizer;
}

absl::Status Run(const Options& options) {
  std::error_code ignored;
  if (std::filesystem::exists(options.checkpoint, ignored)) {
    return absl::AlreadyExistsError(
        absl::StrCat(options.checkpoint, ": exists already; choose another or remove it"));
  }
  ASSIGN_OR_RETURN(const HfModel loaded, LoadHfFolder(options.dir, Device::kCpu, DType::kFloat32,
                                                      /*trainable=*/false));
  for (const std::string& warning : loaded.warnings) {
    std::fprintf(stderr, "wyvern: warning: %s\n", warning.c_str());
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   ChooseTokenizer(options, loaded.model->config().vocab_size));
  const TrainingState state{.model = loaded.model.get(), .tokenizer = tokenizer.get()};
  RETURN_IF_ERROR(
      SaveModelFolder(options.checkpoint, /*step=*/0, state, {{"huggingface", loaded.kept}}));
  std::printf("%s: %s of %lld parameters%s -> %s\n", options.dir.c_str(), ModelType(loaded.family),
              static_cast<long long>(loaded.model->num_parameters()),
              tokenizer == nullptr ? ", without a tokenizer" : "", options.checkpoint.c_str());
  return absl::OkStatus();
}

}  // namespace

void AddImportCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("import", "Make a checkpoint of a Hugging Face folder (FLA or llama)");
  command->add_option("HF_DIR", options->dir, "Folder with config.json and safetensors")
      ->required();
  command->add_option("CHECKPOINT", options->checkpoint, "Checkpoint folder to write")->required();
  command->add_option("--tokenizer", options->tokenizer,
                      "byte, or a SentencePiece model (default: HF_DIR/tokenizer.model, if there)");
  command->callback([=] { *exit_code = ExitCode(Run(*options)); });
}

}  // namespace wyvern
