#include "data/tokenizer/tokenizer_bundle.h"

#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/bounded_file.h"
#include "data/io/json.h"
#include "data/io/json_members.h"
#include "data/io/plain_name.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr absl::string_view kHeader = "wyvern tokenizer files 1\n";

}  // namespace

std::string SerializeBundle(const TokenizerBundle& bundle) {
  if (bundle.files.size() == 1 && bundle.settings.empty()) return bundle.main_file();
  nlohmann::json files = nlohmann::json::array();
  std::string contents;
  for (const auto& [name, content] : bundle.files) {
    files.push_back({{"name", name}, {"bytes", content.size()}});
    contents += content;
  }
  const nlohmann::json description = {{"main", bundle.main},
                                      {"files", files},
                                      {"settings",
                                       {{"bos", bundle.settings.bos},
                                        {"eos", bundle.settings.eos},
                                        {"pattern", bundle.settings.pattern}}}};
  return absl::StrCat(kHeader, JsonText(description), "\n", contents);
}

absl::StatusOr<TokenizerBundle> ParseBundle(const std::string& text, const std::string& main,
                                            const std::string& origin) {
  TokenizerBundle bundle;
  if (!absl::StartsWith(text, kHeader)) {
    bundle.main = main;
    bundle.files[main] = text;
    return bundle;
  }
  const auto damaged = [&origin](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": the tokenizer's files are damaged: ", what));
  };
  const size_t end = text.find('\n', kHeader.size());
  if (end == std::string::npos) return damaged("the description has no end");
  ASSIGN_OR_RETURN(
      const nlohmann::json value,
      ParseJson(absl::string_view(text).substr(kHeader.size(), end - kHeader.size()), origin));
  const JsonMembers members(value, origin);
  ASSIGN_OR_RETURN(bundle.main, members.String("main"));
  ASSIGN_OR_RETURN(const nlohmann::json* files, members.List("files"));
  absl::string_view rest = absl::string_view(text).substr(end + 1);
  for (size_t i = 0; i < files->size(); ++i) {
    const JsonMembers file = members.At("files", i);
    ASSIGN_OR_RETURN(const std::string name, file.String("name"));
    ASSIGN_OR_RETURN(const int64_t bytes, file.Count("bytes"));
    if (!IsPlainName(name)) return file.Expected("name", "the name of a file");
    if (bytes > static_cast<int64_t>(rest.size())) return damaged("they end too early");
    bundle.files[name] = std::string(rest.substr(0, static_cast<size_t>(bytes)));
    rest.remove_prefix(static_cast<size_t>(bytes));
  }
  if (!rest.empty()) return damaged("there is more behind them");
  if (!bundle.files.contains(bundle.main)) return damaged("the main one is missing");
  const JsonMembers settings = members.At("settings");
  ASSIGN_OR_RETURN(bundle.settings.bos, settings.String("bos"));
  ASSIGN_OR_RETURN(bundle.settings.eos, settings.String("eos"));
  ASSIGN_OR_RETURN(bundle.settings.pattern, settings.String("pattern"));
  return bundle;
}

absl::StatusOr<TokenizerBundle> ReadBundle(const std::string& path,
                                           const TokenizerSettings& settings) {
  const std::filesystem::path file(path);
  TokenizerBundle bundle{.main = file.filename().string(), .files = {}, .settings = settings};
  ASSIGN_OR_RETURN(bundle.files[bundle.main], ReadFileOf(kTokenizerFile, path));
  for (const absl::string_view name : kTokenizerCompanions) {
    const std::string companion = (file.parent_path() / std::string(name)).string();
    std::error_code ignored;
    if (name == bundle.main || !std::filesystem::is_regular_file(companion, ignored)) continue;
    ASSIGN_OR_RETURN(bundle.files[std::string(name)], ReadFileOf(kTokenizerFile, companion));
  }
  return bundle;
}

}  // namespace wyvern
