#include "data/chat/load_chat_template.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using nlohmann::json;

constexpr char kConfig[] = "tokenizer_config.json";

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

// Reads special tokens, and the template if it is there.
absl::Status ReadConfig(const std::string& path, ChatOptions* options) {
  ASSIGN_OR_RETURN(const json config, ReadJsonFile(path));
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
  ASSIGN_OR_RETURN(options->source, ReadFile(path));
  options->origin = path;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatOptions> LoadChatTemplate(const std::string& path) {
  namespace fs = std::filesystem;
  ChatOptions options;
  if (path.empty()) return options;
  std::error_code error;
  const bool is_folder = fs::is_directory(path, error);
  const std::string config = is_folder ? absl::StrCat(path, "/", kConfig) : path;
  if (fs::path(config).filename() == kConfig && fs::exists(config, error)) {
    RETURN_IF_ERROR(ReadConfig(config, &options));
  }
  const std::string jinja = is_folder ? absl::StrCat(path, "/chat_template.jinja") : path;
  if (fs::path(jinja).filename() != kConfig && (!is_folder || fs::exists(jinja, error))) {
    RETURN_IF_ERROR(ReadTemplate(jinja, &options));
  }
  if (!options.source.empty()) return options;
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": holds no chat template; expected a file of Jinja2, or a folder with ",
      "chat_template.jinja or with a ", kConfig, " that has the member chat_template"));
}

}  // namespace wyvern
