#include "data/tokenizer/tiktoken_tokenizer.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/io/json.h"
#include "data/tokenizer/bpe_model.h"
#include "data/tokenizer/byte_characters.h"
#include "data/tokenizer/json_part.h"
#include "data/tokenizer/named_patterns.h"
#include "data/tokenizer/pattern.h"
#include "data/tokenizer/pipeline_tokenizer.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

absl::StatusOr<Pattern> FindPattern(const std::string& name, const std::string& origin) {
  const std::optional<absl::string_view> regex = FindNamedPattern(name);
  if (regex.has_value()) return Pattern::Compile(*regex, PatternDialect::kFancyRegex);
  return absl::InvalidArgumentError(absl::StrCat(
      origin, ": a file of tiktoken does not say how text is divided: name its pattern, one of ",
      NamedPatternNames(), name.empty() ? "" : absl::StrCat("; got '", name, "'")));
}

// Far beyond every token of a known vocabulary. The merges of a token are sought at each of its
// bytes, so time grows with the square of its length.
constexpr size_t kMaxTokenBytes = 4096;

// A token's bytes, and its rank.
bool ReadLine(absl::string_view line, std::string* token, int64_t* rank) {
  const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
  return parts.size() == 2 && absl::Base64Unescape(parts[0], token) && !token->empty() &&
         absl::SimpleAtoi(parts[1], rank);
}

std::string Characters(absl::string_view bytes) {
  std::string characters;
  for (const char c : bytes) characters += ByteCharacters()[static_cast<unsigned char>(c)];
  return characters;
}

absl::Status ReadRanks(absl::string_view content, const std::string& origin,
                       Vocabulary* vocabulary) {
  int64_t number = 0;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    const auto too_long = [&] {
      return absl::InvalidArgumentError(absl::StrCat(origin, ": line ", number,
                                                     ": the token is longer than ", kMaxTokenBytes,
                                                     " bytes, the most that is read of one"));
    };
    if (line.size() > 2 * kMaxTokenBytes) return too_long();  // base64 takes 4 bytes for 3
    std::string token;
    int64_t rank;
    if (!ReadLine(line, &token, &rank)) {
      return absl::InvalidArgumentError(
          absl::StrCat(origin, ": line ", number, ": expected a token in base64 and its rank"));
    }
    if (token.size() > kMaxTokenBytes) return too_long();
    if (!vocabulary->Add(Characters(token), rank)) {
      return absl::InvalidArgumentError(absl::StrCat(
          origin, ": line ", number, ": the token or its rank is there already, or too large"));
    }
  }
  for (const std::string& byte : ByteCharacters()) {
    if (vocabulary->Find(byte).has_value()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": some of the 256 bytes are no tokens, so some texts have no ids"));
  }
  return absl::OkStatus();
}

// Two tokens are joined whenever that makes a token, the one of the lowest rank first.
std::vector<BpeMerge> MergesOf(const Vocabulary& vocabulary) {
  std::vector<BpeMerge> merges;
  for (int32_t id = 0; id < vocabulary.end_id(); ++id) {
    const std::string* token = vocabulary.Token(id);
    if (token == nullptr) continue;
    for (size_t cut = 1; cut < token->size(); ++cut) {
      if (((*token)[cut] & 0xC0) == 0x80) continue;  // inside a character
      const auto left = vocabulary.Find(absl::string_view(*token).substr(0, cut));
      const auto right = vocabulary.Find(absl::string_view(*token).substr(cut));
      if (!left.has_value() || !right.has_value()) continue;
      merges.push_back({*left, *right, id, static_cast<uint32_t>(id)});
    }
  }
  return merges;
}

absl::Status ReadSpecialTokens(const TokenizerBundle& bundle, const std::string& origin,
                               TokenizerParts* parts) {
  const auto file = bundle.files.find("tokenizer_config.json");
  if (file == bundle.files.end()) return absl::OkStatus();
  const std::string place = absl::StrCat(origin, ": ", file->first);
  ASSIGN_OR_RETURN(const nlohmann::json value, ParseJson(file->second, place));
  const JsonPart tokens = JsonPart(value, place, "").At("added_tokens_decoder");
  if (tokens.is_null()) return absl::OkStatus();
  if (!tokens.value().is_object()) return tokens.Expected("an object of ids and tokens");
  for (const auto& [id, ignored] : tokens.value().items()) {
    const JsonPart entry = tokens.At(id);
    AddedToken token{.normalized = false, .special = true};
    ASSIGN_OR_RETURN(token.content, entry.At("content").Text());
    if (!absl::SimpleAtoi(id, &token.id) || token.id < 0 || token.id >= 1 << 24 ||
        parts->vocabulary->Token(token.id) != nullptr) {
      return entry.Error("expected an id that no token of the file has");
    }
    if (token.content.empty()) return entry.At("content").Expected("a text");
    parts->added_tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsTiktoken(absl::string_view content) {
  absl::string_view line = content.substr(0, content.find('\n'));
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  std::string token;
  int64_t rank;
  return line.size() < 10000 && ReadLine(line, &token, &rank);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTiktokenTokenizer(TokenizerBundle bundle,
                                                                 const std::string& origin) {
  TokenizerParts parts;
  parts.kind = "tiktoken";
  ASSIGN_OR_RETURN(Pattern pattern, FindPattern(bundle.settings.pattern, origin));
  parts.pre_tokenization = SplitIntoBytes(std::move(pattern));
  parts.vocabulary = std::make_unique<Vocabulary>();
  RETURN_IF_ERROR(ReadRanks(bundle.main_file(), origin, parts.vocabulary.get()));
  parts.model = MakeBpeModel(*parts.vocabulary, MergesOf(*parts.vocabulary),
                             {.byte_level = true, .ignore_merges = true});
  RETURN_IF_ERROR(ReadSpecialTokens(bundle, origin, &parts));
  parts.decoding = DecodeBytes();
  parts.bundle = std::move(bundle);
  return MakePipelineTokenizer(std::move(parts), origin);
}

}  // namespace wyvern
