#include "data/tokenizer/tokenizer.h"

#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/file.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "data/tokenizer/hf_tokenizer.h"
#include "data/tokenizer/id_tokenizer.h"
#include "data/tokenizer/sentencepiece_tokenizer.h"
#include "data/tokenizer/tiktoken_tokenizer.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"

namespace wyvern {

namespace {

bool IsJson(absl::string_view content) {
  return absl::StartsWith(absl::StripLeadingAsciiWhitespace(content), "{");
}

// The tokenizer's file in a folder; a file is itself.
absl::StatusOr<std::string> FileOf(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return path;
  for (const char* const name : {"tokenizer.json", "tiktoken.model", "tokenizer.model"}) {
    std::string file = (std::filesystem::path(path) / name).string();
    if (std::filesystem::exists(file, ignored)) return file;
  }
  return absl::NotFoundError(absl::StrCat("tokenizer: ", path,
                                          ": the folder has no tokenizer.json, tiktoken.model or "
                                          "tokenizer.model; name the file"));
}

}  // namespace

std::string Tokenizer::hash() const {
  return absl::StrFormat("%016x", HashName(kind() + '\0' + Identity()));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& name_or_path,
                                                         const TokenizerSettings& settings) {
  const auto without_effect = [&name_or_path](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: ", name_or_path, ": ", what,
                     " has no effect with this tokenizer; leave it out"));
  };
  if (name_or_path == "byte") {
    if (!settings.empty()) return without_effect("a pattern, bos or eos");
    return MakeByteTokenizer();
  }
  ASSIGN_OR_RETURN(const std::string path, FileOf(name_or_path));
  absl::StatusOr<TokenizerBundle> bundle = ReadBundle(path, settings);
  if (!bundle.ok()) {
    return absl::Status(bundle.status().code(),
                        absl::StrCat("tokenizer: ", bundle.status().message(),
                                     "; expected 'byte' or the path of a SentencePiece model, a "
                                     "tokenizer.json, a tiktoken file, or of their folder"));
  }
  if (IsTiktoken(bundle->main_file())) return MakeTiktokenTokenizer(*std::move(bundle), path);
  if (!settings.pattern.empty()) return without_effect("a pattern");
  if (IsJson(bundle->main_file())) return MakeHfTokenizer(*std::move(bundle), path);
  if (!settings.empty()) return without_effect("bos or eos");
  return MakeSentencePieceTokenizer(bundle->main_file(), path);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const std::string& kind,
                                                         const std::string& model,
                                                         const std::string& origin) {
  if (kind == "byte") return MakeByteTokenizer();
  if (kind == "sentencepiece") return MakeSentencePieceTokenizer(model, origin);
  if (kind == kIdTokenizerKind) return MakeIdTokenizer(model, origin);
  if (kind == "tokenizer.json" || kind == "tiktoken") {
    ASSIGN_OR_RETURN(TokenizerBundle bundle, ParseBundle(model, kind, origin));
    return kind == "tiktoken" ? MakeTiktokenTokenizer(std::move(bundle), origin)
                              : MakeHfTokenizer(std::move(bundle), origin);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(origin, ": unknown tokenizer kind '", kind,
                   "'; expected byte, sentencepiece, tokenizer.json, tiktoken or ids"));
}

}  // namespace wyvern
