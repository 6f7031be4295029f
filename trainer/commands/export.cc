#include <algorithm>
#include <cstdio>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/io/json_members.h"
#include "data/io/printable.h"
#include "data/io/say.h"
#include "data/tokenizer/end_of_turn.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/chat_record.h"
#include "trainer/checkpoint/model.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/config/load.h"
#include "trainer/config/stages.h"
#include "trainer/gguf/save_gguf.h"
#include "trainer/gguf/tokenizer.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {
namespace {

struct Options {
  std::string checkpoint, output, format = "hf", dtype = "fp32", family = "auto";
  double max_shard_gb = 0;  // 0: as the help says
  int64_t max_positions = 0;
  bool no_tokenizer = false;
};

// The tokens that end a text: eos and the end of a turn. What the tokenizer's own file says of them
// stays, unless the template is another one.
absl::Status AddEndOfTurn(const ChatOptions& chat, const Tokenizer& tokenizer, bool is_of_run,
                          std::map<std::string, std::string>* files) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ChatTemplate> made, ChatTemplate::Make(chat));
  const EndOfTurn end = FindEndOfTurn(*made, tokenizer);
  if (!end.id.has_value() || end.id == tokenizer.eos_id()) return absl::OkStatus();
  nlohmann::json generation = nlohmann::json::object();
  if (const auto found = files->find("generation_config.json"); found != files->end()) {
    ASSIGN_OR_RETURN(generation, ParseJson(found->second, "generation_config.json"));
    if (!is_of_run && generation.contains("eos_token_id")) return absl::OkStatus();
  }
  generation["eos_token_id"] = nlohmann::json::array({*end.id});
  if (tokenizer.eos_id().has_value()) generation["eos_token_id"].push_back(*tokenizer.eos_id());
  (*files)["generation_config.json"] = JsonText(generation, 2) + "\n";
  return absl::OkStatus();
}

// The chat template of the checkpoint's run, in the place of the tokenizer's own, and by which
// tokens generation ends.
absl::Status AddChat(const CheckpointInfo& info, const Tokenizer& tokenizer,
                     HfExportOptions* options) {
  ASSIGN_OR_RETURN(const ChatOptions chat, CheckpointChat(info, &tokenizer));
  const bool is_of_run = info.meta.is_object() && info.meta.contains("chat");
  if (chat.source.empty()) return absl::OkStatus();
  std::map<std::string, std::string>& files = options->more_files;
  if (!is_of_run) return AddEndOfTurn(chat, tokenizer, is_of_run, &files);
  files["chat_template.jinja"] = chat.source;
  if (const auto found = files.find("tokenizer_config.json"); found != files.end()) {
    ASSIGN_OR_RETURN(nlohmann::json config, ParseJson(found->second, "tokenizer_config.json"));
    config.erase("chat_template");  // readers of both take the file
    for (const auto& [name, token] : chat.special_tokens) {
      if (config.value(name, nlohmann::json()).is_null()) config[name] = token;
    }
    found->second = JsonText(config, 2) + "\n";
  }
  return AddEndOfTurn(chat, tokenizer, is_of_run, &files);
}

// Token ids and the tokenizer's files, where the checkpoint has a tokenizer.
absl::Status AddTokenizer(const CheckpointInfo& info, HfExportOptions* options) {
  const auto tokenizer = LoadCheckpointTokenizer(info.path);
  if (absl::IsNotFound(tokenizer.status())) return absl::OkStatus();
  RETURN_IF_ERROR(tokenizer.status());
  nlohmann::json& keep = options->config.keep;
  if ((*tokenizer)->bos_id().has_value()) keep["bos_token_id"] = *(*tokenizer)->bos_id();
  if ((*tokenizer)->eos_id().has_value()) keep["eos_token_id"] = *(*tokenizer)->eos_id();
  options->more_files = (*tokenizer)->files();
  return AddChat(info, **tokenizer, options);
}

// The longest sample that a run's checkpoint was trained on; 0: of no run, or unknown.
int64_t TrainedLength(const CheckpointInfo& info) {
  if (!info.meta.is_object() || !info.meta.contains("config")) return 0;
  const nlohmann::json& yaml = info.meta["config"];
  if (!yaml.is_string()) return 0;
  const absl::StatusOr<RunConfig> config = ParseRunConfig(yaml.get<std::string>(), info.path);
  if (!config.ok()) return 0;
  int64_t length = 0;
  for (const Stage& stage : StagesOf(*config)) {
    if (stage.index == 0 || stage.first_step < info.step) length = std::max(length, stage.seq_len);
  }
  return length;
}

absl::Status ExportHf(const Options& options, const CheckpointInfo& info) {
  HfExportOptions out;
  out.config.dtype = options.dtype == "bf16" ? "bfloat16" : "float32";
  out.max_shard_bytes =
      static_cast<int64_t>((options.max_shard_gb > 0 ? options.max_shard_gb : 5) * 1e9);
  if (info.meta.is_object() && info.meta.contains("huggingface") &&
      info.meta["huggingface"].is_object()) {
    out.config.keep = info.meta["huggingface"];
  }
  if (!options.no_tokenizer) RETURN_IF_ERROR(AddTokenizer(info, &out));
  if (const int64_t trained = TrainedLength(info); trained > 0) {
    out.config.keep["max_position_embeddings"] = trained;
  }
  if (options.max_positions > 0) out.config.keep["max_position_embeddings"] = options.max_positions;
  if (options.family != "auto") {
    out.config.family = FindHfFamily(options.family);
  } else if (out.config.keep.contains("model_type") && out.config.keep["model_type"].is_string()) {
    out.config.family = FindHfFamily(out.config.keep["model_type"].get<std::string>());
  }
  ASSIGN_OR_RETURN(const ModelConfig model, CheckpointModelConfig(info));
  return SaveHfFolder(model, SourceOfCheckpoint(info.path), options.output, out);
}

// The tokenizer that the checkpoint has, with its chat template.
absl::StatusOr<GgufTokenizer> GgufTokenizerOf(const CheckpointInfo& info,
                                              const ModelConfig& model) {
  const auto tokenizer = LoadCheckpointTokenizer(info.path);
  if (absl::IsNotFound(tokenizer.status())) {
    Say(absl::StrCat(info.path,
                     ": holds no tokenizer; the file has none either, and takes token ids alone"));
    return GgufTokenizer{.metadata = NoGgufTokenizer(), .warnings = {}};
  }
  RETURN_IF_ERROR(tokenizer.status());
  GgufTokenizerOptions options{.vocab_size = model.vocab_size, .padding_id = model.padding_id};
  if (info.meta.is_object() && info.meta.contains("config")) {
    options.add_bos = CheckpointAddsBos(info);
  } else {
    ASSIGN_OR_RETURN(options.add_bos, TokenizerAddsBos(**tokenizer));
  }
  ASSIGN_OR_RETURN(const ChatOptions chat, CheckpointChat(info, tokenizer->get()));
  options.chat_template = chat.source;
  if (!chat.source.empty()) {
    ASSIGN_OR_RETURN(const std::unique_ptr<ChatTemplate> made, ChatTemplate::Make(chat));
    options.end_of_turn_id = FindEndOfTurn(*made, **tokenizer).id;
  }
  return MakeGgufTokenizer(**tokenizer, options);
}

absl::Status ExportGguf(const Options& options, const CheckpointInfo& info) {
  GgufOptions out;
  out.dtype = options.dtype == "bf16"   ? GgufDType::kBf16
              : options.dtype == "fp16" ? GgufDType::kF16
                                        : GgufDType::kF32;
  if (options.max_positions > 0) {
    out.context_length = options.max_positions;
  } else if (const int64_t trained = TrainedLength(info); trained > 0) {
    out.context_length = trained;
  } else if (info.meta.is_object() && info.meta.contains("huggingface")) {
    const JsonMembers kept(info.meta["huggingface"], info.path, "huggingface");
    for (const char* key : {"model_max_length", "max_position_embeddings"}) {
      const absl::StatusOr<int64_t> length = kept.Count(key);
      if (length.ok() && *length > 0 && *length <= std::numeric_limits<int>::max()) {
        out.context_length = *length;
      }
    }
  }
  ASSIGN_OR_RETURN(const ModelConfig model, CheckpointModelConfig(info));
  GgufTokenizer tokenizer{.metadata = NoGgufTokenizer(), .warnings = {}};
  if (!options.no_tokenizer) {
    ASSIGN_OR_RETURN(tokenizer, GgufTokenizerOf(info, model));
  }
  out.tokenizer = tokenizer.metadata;
  ASSIGN_OR_RETURN(const GgufSaved saved,
                   SaveGguf(model, SourceOfCheckpoint(info.path), options.output, out));
  std::vector<std::string> warnings = tokenizer.warnings;
  warnings.insert(warnings.end(), saved.warnings.begin(), saved.warnings.end());
  for (const std::string& warning : warnings) {
    std::fprintf(stderr, "wyvern: warning: %s\n", warning.c_str());
  }
  return absl::OkStatus();
}

// Options that the format has no use for, and a name that belongs to the other one.
absl::Status CheckFormat(const Options& options) {
  const bool gguf = options.format == "gguf";
  if (!gguf && absl::EndsWithIgnoreCase(options.output, ".gguf")) {
    return AsUsage(absl::InvalidArgumentError(
        absl::StrCat(Printable(options.output),
                     ": a folder would be written; for a file of llama.cpp add --format gguf")));
  }
  const char* of_other = gguf && options.family != "auto"   ? "--family"
                         : gguf && options.max_shard_gb > 0 ? "--max-shard-gb"
                         : !gguf && options.dtype == "fp16" ? "--dtype fp16"
                                                            : nullptr;
  if (of_other == nullptr) return absl::OkStatus();
  return AsUsage(absl::InvalidArgumentError(
      absl::StrCat(of_other, " is not for --format ", options.format, "; leave it out")));
}

absl::Status Run(const Options& options) {
  RETURN_IF_ERROR(CheckFormat(options));
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(options.checkpoint));
  RETURN_IF_ERROR(options.format == "gguf" ? ExportGguf(options, info) : ExportHf(options, info));
  ASSIGN_OR_RETURN(const ModelConfig model, CheckpointModelConfig(info));
  Say(absl::StrCat(info.path, ": ", CountParameters(model), " parameters in ", options.dtype,
                   " -> ", options.output));
  return absl::OkStatus();
}

}  // namespace

void AddExportCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("export",
                                         "Write a Hugging Face folder that flash-linear-attention "
                                         "or transformers load, or a GGUF file "
                                         "that llama.cpp loads");
  command->add_option("CHECKPOINT", options->checkpoint, kCheckpointHelp)->required();
  command
      ->add_option(
          "OUT", options->output,
          "Folder to write, which must not exist or be empty; or GGUF file, which must not "
          "exist")
      ->required();
  command->add_option("--format", options->format, "hf (default) or gguf")
      ->check(CLI::IsMember({"hf", "gguf"}));
  command->add_option("--dtype", options->dtype, "fp32 (default), bf16, or fp16 in a GGUF file")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}));
  std::vector<std::string> families = {"auto"};
  for (const HfFamily* family : HfFamilies()) families.push_back(family->model_type);
  command
      ->add_option(
          "--family", options->family,
          "auto (default); wyvern, which holds mixed models too, with its own modeling_wyvern.py; "
          "or another that holds this one, as config show says. The model alone decides on that of "
          "a "
          "GGUF file")
      ->check(CLI::IsMember(families));
  command
      ->add_option("--max-shard-gb", options->max_shard_gb,
                   "Largest file of a folder in 10^9 bytes (5)")
      ->check(CLI::Range(1e-9, 1e9));
  command
      ->add_option(
          "--max-positions", options->max_positions,
          "max_position_embeddings of config.json, or the GGUF file's context_length (as long as "
          "the samples of the run, or as imported)")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  command->add_flag("--no-tokenizer", options->no_tokenizer, "Leave the tokenizer out");
  command->callback([=] { *exit_code = ExitCode(Run(*options)); });
}

}  // namespace wyvern
