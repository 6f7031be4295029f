#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "data/chat/load_chat_template.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/chat_record.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/hf/import_folder.h"
#include "trainer/hf/load_folder.h"

namespace wyvern {
namespace {

struct Options {
  std::string dir, checkpoint, tokenizer;
};

// The one asked for, else the folder's; null if there is none, or none that Wyvern can read.
absl::StatusOr<std::unique_ptr<Tokenizer>> ChooseTokenizer(const Options& options) {
  if (!options.tokenizer.empty()) return LoadTokenizer(options.tokenizer);
  absl::StatusOr<std::unique_ptr<Tokenizer>> found = LoadTokenizer(options.dir);
  if (found.ok()) return found;
  if (!absl::IsNotFound(found.status())) {
    SayError(absl::StrCat("wyvern: warning: the tokenizer is left out: ",
                          absl::string_view(found.status().message())));
  }
  return nullptr;
}

// The folder's chat template, where the tokenizer does not bring it along itself.
absl::StatusOr<nlohmann::json> ChatOf(const std::string& dir, const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return nlohmann::json();
  ASSIGN_OR_RETURN(const ChatOptions own, ChatTemplateOf(tokenizer->files()));
  ASSIGN_OR_RETURN(const ChatOptions found, LoadChatTemplate("", dir));
  return !own.source.empty() || found.source.empty() ? nlohmann::json() : ChatRecord(found);
}

absl::Status Run(const Options& options) {
  // An error of the folder shows before its tokenizer is read.
  RETURN_IF_ERROR(ReadHfConfigFile(options.dir).status());
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, ChooseTokenizer(options));
  ASSIGN_OR_RETURN(nlohmann::json chat, ChatOf(options.dir, tokenizer.get()));
  ASSIGN_OR_RETURN(const HfImport imported,
                   ImportHfFolder(options.dir, options.checkpoint,
                                  {.tokenizer = tokenizer.get(), .chat = std::move(chat)}));
  for (const std::string& warning : imported.warnings) {
    SayError(absl::StrCat("wyvern: warning: ", warning));
  }
  Say(absl::StrCat(options.dir, ": ", imported.family->model_type, " of ",
                   CountParameters(imported.model), " parameters",
                   tokenizer == nullptr ? ", without a tokenizer" : "", " -> ",
                   options.checkpoint));
  return absl::OkStatus();
}

}  // namespace

void AddImportCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "import",
      "Make a checkpoint of a Hugging Face folder, of a published family or of wyvern's own");
  command->add_option("HF_DIR", options->dir, "Folder with config.json and safetensors")
      ->required();
  command->add_option("CHECKPOINT", options->checkpoint, "Checkpoint folder to write")->required();
  command->add_option(
      "--tokenizer", options->tokenizer,
      "byte, or a SentencePiece model, a tokenizer.json, or their folder (default: HF_DIR)");
  command->callback([=] { *exit_code = ExitCode(Run(*options)); });
}

}  // namespace wyvern
