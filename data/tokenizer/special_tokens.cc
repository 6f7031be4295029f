#include "data/tokenizer/special_tokens.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/io/json_members.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

const std::vector<std::string> kBosNames = {"<s>", "<bos>", "[BOS]", "<|begin_of_text|>",
                                            "<｜begin▁of▁sentence｜>"};
const std::vector<std::string> kEosNames = {
    "</s>", "<eos>", "[EOS]", "<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>"};

// The token that a companion file names under `key`: a text, or an object with one in "content".
// `found` says whether the key is there; null says that there is no such token.
absl::StatusOr<std::optional<std::string>> NamedByFile(const nlohmann::json& value,
                                                       const std::string& key,
                                                       const std::string& file, bool* found) {
  if (!value.is_object() || !value.contains(key)) return std::optional<std::string>();
  *found = true;
  nlohmann::json token = value[key];
  if (token.is_object() && token.contains("content")) token = token["content"];
  if (token.is_null()) return std::optional<std::string>();
  if (token.is_string()) return std::optional<std::string>(token.get<std::string>());
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": ", key, ": expected a token's text, got ", DescribeJson(value[key])));
}

}  // namespace

absl::StatusOr<DocumentTokens> FindDocumentTokens(
    const TokenizerBundle& bundle, const std::string& origin, const std::vector<std::string>& added,
    const std::function<std::optional<int32_t>(const std::string&)>& find) {
  const auto resolve =
      [&](const std::string& setting, const std::string& setting_name, const std::string& key,
          const std::vector<std::string>& well_known) -> absl::StatusOr<std::optional<int32_t>> {
    const auto id_of = [&](const std::string& token,
                           const std::string& place) -> absl::StatusOr<std::optional<int32_t>> {
      const std::optional<int32_t> id = find(token);
      if (id.has_value()) return id;
      return absl::InvalidArgumentError(absl::StrCat(place, ": '", token, "' is not a token of ",
                                                     origin, "; name another, or none"));
    };
    if (setting == "none") return std::optional<int32_t>();
    if (!setting.empty()) return id_of(setting, setting_name);
    for (const char* const name : {"tokenizer_config.json", "special_tokens_map.json"}) {
      const auto file = bundle.files.find(name);
      if (file == bundle.files.end()) continue;
      const std::string place = absl::StrCat(origin, ": ", name);
      ASSIGN_OR_RETURN(const nlohmann::json value, ParseJson(file->second, place));
      bool found = false;
      ASSIGN_OR_RETURN(const std::optional<std::string> token,
                       NamedByFile(value, key, place, &found));
      if (token.has_value()) return id_of(*token, absl::StrCat(place, ": ", key));
      if (found) return std::optional<int32_t>();
    }
    std::optional<std::string> only;
    for (const std::string& name : well_known) {
      if (std::find(added.begin(), added.end(), name) == added.end()) continue;
      if (only.has_value()) return std::optional<int32_t>();
      only = name;
    }
    return only.has_value() ? find(*only) : std::optional<int32_t>();
  };
  DocumentTokens tokens;
  ASSIGN_OR_RETURN(tokens.bos, resolve(bundle.settings.bos, "bos", "bos_token", kBosNames));
  ASSIGN_OR_RETURN(tokens.eos, resolve(bundle.settings.eos, "eos", "eos_token", kEosNames));
  return tokens;
}

}  // namespace wyvern
