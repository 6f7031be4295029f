// A tokenizer's files, as one text that stores and checkpoints hold.
#ifndef WYVERN_DATA_TOKENIZER_TOKENIZER_BUNDLE_H_
#define WYVERN_DATA_TOKENIZER_TOKENIZER_BUNDLE_H_

#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// The user's word on a tokenizer besides its path. Empty: the files decide.
struct TokenizerSettings {
  std::string bos, eos;  // texts of tokens; "none": no such token
  std::string pattern;   // of a tiktoken file

  bool empty() const { return bos.empty() && eos.empty() && pattern.empty(); }
  bool operator==(const TokenizerSettings&) const = default;
};

struct TokenizerBundle {
  std::string main;                          // the name of the file that makes the ids
  std::map<std::string, std::string> files;  // by name, `main` among them
  TokenizerSettings settings;

  const std::string& main_file() const { return files.at(main); }
};

// The files that go along with a tokenizer where they lie in its folder.
inline constexpr absl::string_view kTokenizerCompanions[] = {
    "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "generation_config.json", "tokenizer.model"};

// A lone file without settings is itself. Otherwise:
//   "wyvern tokenizer files 1\n", a line of JSON, the files' bytes one after the other.
// The JSON has "main", "files" (a list of {"name", "bytes"}) and "settings".
std::string SerializeBundle(const TokenizerBundle& bundle);

// `main` names a lone file. Errors (InvalidArgument) begin with `origin`.
absl::StatusOr<TokenizerBundle> ParseBundle(const std::string& text, const std::string& main,
                                            const std::string& origin);

// The file of `path` with its companions. Errors: as ReadFile.
absl::StatusOr<TokenizerBundle> ReadBundle(const std::string& path,
                                           const TokenizerSettings& settings);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TOKENIZER_BUNDLE_H_
