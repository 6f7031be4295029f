#include "data/chat/load_chat_template.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/bounded_file.h"
#include "data/io/json.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kConfig[] = "tokenizer_config.json";
constexpr char kJinja[] = "chat_template.jinja";

// The template of a tokenizer_config.json; empty if there is none.
std::string TemplateOf(const json& config) {
  const json found = config.value("chat_template", json());
  if (found.is_string()) return found.get<std::string>();
  if (!found.is_array()) return "";
  for (const json& named : found) {
    if (named.is_object() && named.value("name", json()) == "default" &&
        named.value("template", json()).is_string()) {
      return named["template"].get<std::string>();
    }
  }
  return "";
}

// Takes special tokens, and the template if it is there. `path` is the configuration's.
absl::Status TakeConfig(const json& config, const std::string& path, ChatOptions* options) {
  if (!config.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected an object"));
  }
  for (const auto& [name, value] : config.items()) {
    if (!absl::EndsWith(name, "_token")) continue;
    const json text = value.is_object() ? value.value("content", json()) : value;
    if (text.is_string()) options->special_tokens.emplace_back(name, text.get<std::string>());
  }
  options->source = TemplateOf(config);
  options->origin = absl::StrCat(path, ": chat_template");
  return absl::OkStatus();
}

absl::Status ReadTemplate(const std::string& path, ChatOptions* options) {
  ASSIGN_OR_RETURN(options->source, ReadFileOf(kChatTemplateFile, path));
  options->origin = path;
  return absl::OkStatus();
}

// The template and the tokens of what is there; the source stays empty if there is no template.
absl::StatusOr<ChatOptions> ReadWhatIsThere(const std::string& path, bool is_folder) {
  ChatOptions options;
  std::error_code error;
  const std::string config = is_folder ? absl::StrCat(path, "/", kConfig) : path;
  if (fs::path(config).filename() == kConfig && fs::exists(config, error)) {
    ASSIGN_OR_RETURN(const json members, ReadJsonFile(config));
    RETURN_IF_ERROR(TakeConfig(members, config, &options));
  }
  const std::string jinja = is_folder ? absl::StrCat(path, "/", kJinja) : path;
  if (fs::path(jinja).filename() != kConfig && (!is_folder || fs::exists(jinja, error))) {
    RETURN_IF_ERROR(ReadTemplate(jinja, &options));
  }
  return options;
}

// The folder of a tokenizer's path; empty for one without files.
std::string FolderOf(const std::string& tokenizer) {
  std::error_code error;
  if (tokenizer.empty() || tokenizer == "byte") return "";
  if (fs::is_directory(tokenizer, error)) return tokenizer;
  const std::string folder = fs::path(tokenizer).parent_path().string();
  return folder.empty() ? "." : folder;
}

absl::StatusOr<ChatOptions> LoadBesideTokenizer(const std::string& tokenizer) {
  const std::string folder = FolderOf(tokenizer);
  ChatOptions none;
  if (folder.empty()) {
    none.origin = "the tokenizer has no files";
    return none;
  }
  ASSIGN_OR_RETURN(ChatOptions options, ReadWhatIsThere(folder, /*is_folder=*/true));
  if (!options.source.empty()) return options;
  none.origin = absl::StrCat("there is no ", folder, "/", kJinja, " and no chat_template in ",
                             folder, "/", kConfig);
  return none;
}

}  // namespace

absl::StatusOr<ChatOptions> LoadChatTemplate(const std::string& path,
                                             const std::string& tokenizer) {
  if (path.empty()) return LoadBesideTokenizer(tokenizer);
  std::error_code error;
  ASSIGN_OR_RETURN(ChatOptions options, ReadWhatIsThere(path, fs::is_directory(path, error)));
  if (!options.source.empty()) return options;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": holds no chat template; expected a file of Jinja2, or a folder with ",
                   kJinja, " or with a ", kConfig, " that has the member chat_template"));
}

absl::StatusOr<ChatOptions> ChatTemplateOf(const std::map<std::string, std::string>& files) {
  ChatOptions options;
  options.origin =
      absl::StrCat("the tokenizer has no ", kJinja, " and no chat_template in its ", kConfig);
  if (const auto config = files.find(kConfig); config != files.end()) {
    ASSIGN_OR_RETURN(const json members, ParseJson(config->second, kConfig));
    ChatOptions of_config;
    RETURN_IF_ERROR(TakeConfig(members, kConfig, &of_config));
    options.special_tokens = of_config.special_tokens;
    if (!of_config.source.empty()) options = of_config;
  }
  if (const auto jinja = files.find(kJinja); jinja != files.end()) {
    options.source = jinja->second;
    options.origin = kJinja;
  }
  return options;
}

}  // namespace wyvern
