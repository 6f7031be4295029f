#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/io/json_members.h"
#include "data/tokenizer/byte_characters.h"
#include "data/tokenizer/named_patterns.h"
#include "data/tokenizer/tokenizer_bundle.h"
#include "kernels/runtime/status.h"
#include "trainer/gguf/vocabulary.h"

namespace wyvern {
namespace {

using nlohmann::json;

absl::Status NoPlace(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(
      "llama.cpp has no place for this tokenizer: ", what, "; --no-tokenizer leaves it out"));
}

// Our names of patterns, and llama.cpp's. cl100k has none: its llama-bpe divides white space at a
// text's end in another way.
struct Pre {
  absl::string_view pattern, name;
};
constexpr std::array<Pre, 5> kPres = {{{"gpt2", "gpt-2"},
                                       {"llama3", "llama-bpe"},
                                       {"qwen", "qwen2"},
                                       {"o200k", "gpt-4o"},
                                       {"kimi", "kimi-k2"}}};
// GPT-2's as it was published, which matches the same.
constexpr absl::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

absl::StatusOr<std::string> PreOfRegex(absl::string_view regex) {
  if (regex == kGpt2) return "gpt-2";
  for (const Pre& pre : kPres) {
    if (FindNamedPattern(pre.pattern) == regex) return std::string(pre.name);
  }
  return NoPlace(absl::StrCat("it divides text by ", regex,
                              ", and llama.cpp knows the patterns gpt2, llama3, qwen, o200k and "
                              "kimi"));
}

bool IsByteLevel(const json& part, bool use_regex) {
  return part.is_object() && part.value("type", json()) == "ByteLevel" &&
         part.value("add_prefix_space", json(true)) == false &&
         part.value("use_regex", json(true)) == use_regex;
}

// The name of a tokenizer.json's pre_tokenizer, which is GPT-2's own, or a pattern and then bytes.
absl::StatusOr<std::string> PreOf(const json& pre) {
  if (IsByteLevel(pre, true)) return "gpt-2";
  const json parts = pre.is_object() ? pre.value("pretokenizers", json()) : json();
  if (!parts.is_array() || parts.size() != 2 || !IsByteLevel(parts[1], false) ||
      !parts[0].is_object() || parts[0].value("type", json()) != "Split" ||
      parts[0].value("behavior", json()) != "Isolated" ||
      parts[0].value("invert", json(false)) != false || !parts[0].contains("pattern") ||
      !parts[0]["pattern"].is_object() || !parts[0]["pattern"].contains("Regex") ||
      !parts[0]["pattern"]["Regex"].is_string()) {
    return NoPlace("its pre_tokenizer is not a pattern with ByteLevel behind it");
  }
  return PreOfRegex(parts[0]["pattern"]["Regex"].get<std::string>());
}

void Put(int64_t id, std::string text, GgufTokenType type, GgufVocabulary* v) {
  if (id >= static_cast<int64_t>(v->tokens.size())) v->tokens.resize(static_cast<size_t>(id) + 1);
  v->tokens[static_cast<size_t>(id)] = {.text = std::move(text), .type = type};
}

absl::Status AddModel(const json& model, GgufVocabulary* v) {
  const bool is_bpe = model.is_object() && model.contains("vocab") && model.contains("merges") &&
                      model.value("type", json("BPE")) == "BPE";
  if (!is_bpe) return NoPlace("its model is not BPE");
  if (model.value("byte_fallback", json(false)) == true) {
    return NoPlace("its BPE has byte_fallback; a tokenizer.model of SentencePiece would do");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json mark = model.value(key, json());
    if (!mark.is_null() && mark != json("")) return NoPlace(absl::StrCat("its BPE has ", key));
  }
  for (const auto& [token, id] : model["vocab"].items()) {
    Put(id.get<int64_t>(), token, GgufTokenType::kNormal, v);
  }
  for (const json& merge : model["merges"]) {
    v->merges.push_back(merge.is_string() ? merge.get<std::string>()
                                          : absl::StrCat(merge[0].get<std::string>(), " ",
                                                         merge[1].get<std::string>()));
  }
  return absl::OkStatus();
}

absl::Status AddNormalizer(const json& normalizer, GgufVocabulary* v) {
  if (normalizer.is_null()) return absl::OkStatus();
  if (!normalizer.is_object() || normalizer.value("type", json()) != "NFC") {
    return NoPlace("it has a normalizer other than NFC");
  }
  v->warnings.push_back(
      "llama.cpp does not bring text into Unicode's form NFC as this tokenizer does; other text "
      "gets other ids");
  return absl::OkStatus();
}

// The text has made a tokenizer before, so its members are of the format's types.
absl::StatusOr<GgufVocabulary> OfTokenizerJson(const std::string& text) {
  ASSIGN_OR_RETURN(const json file, ParseJson(text, "tokenizer.json"));
  GgufVocabulary v{.model = "gpt2"};
  ASSIGN_OR_RETURN(v.pre, PreOf(file.value("pre_tokenizer", json())));
  RETURN_IF_ERROR(AddNormalizer(file.value("normalizer", json()), &v));
  RETURN_IF_ERROR(AddModel(file.value("model", json()), &v));
  for (const json& token : file.value("added_tokens", json::array())) {
    const bool special = token.value("special", json(false)) == true;
    Put(token["id"].get<int64_t>(), token["content"].get<std::string>(),
        special ? GgufTokenType::kControl : GgufTokenType::kUserDefined, &v);
  }
  return v;
}

std::string Characters(absl::string_view bytes) {
  std::string characters;
  for (const char byte : bytes) characters += ByteCharacters()[static_cast<unsigned char>(byte)];
  return characters;
}

// All ways to join two tokens to a third, those that make the lowest id first.
std::vector<std::string> AllMerges(const std::vector<GgufVocabulary::Token>& tokens) {
  std::set<absl::string_view> known;
  for (const GgufVocabulary::Token& token : tokens) {
    if (token.type == GgufTokenType::kNormal) known.insert(token.text);
  }
  std::vector<std::string> merges;
  for (const GgufVocabulary::Token& token : tokens) {
    if (token.type != GgufTokenType::kNormal) continue;
    const absl::string_view text = token.text;
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if ((text[cut] & 0xC0) == 0x80) continue;  // inside a character
      const absl::string_view left = text.substr(0, cut), right = text.substr(cut);
      if (known.count(left) == 0 || known.count(right) == 0) continue;
      merges.push_back(absl::StrCat(left, " ", right));
    }
  }
  return merges;
}

absl::StatusOr<GgufVocabulary> OfTiktoken(const Tokenizer& tokenizer,
                                          const TokenizerBundle& bundle) {
  GgufVocabulary v{.model = "gpt2"};
  const auto pattern = FindNamedPattern(bundle.settings.pattern);
  if (!pattern.has_value()) return NoPlace("its pattern has no name");
  ASSIGN_OR_RETURN(v.pre, PreOfRegex(*pattern));
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string bytes = tokenizer.BytesOf(id);
    if (tokenizer.is_added(id) || bytes.empty()) continue;
    Put(id, Characters(bytes), GgufTokenType::kNormal, &v);
  }
  v.merges = AllMerges(v.tokens);
  const auto config = bundle.files.find("tokenizer_config.json");
  if (config == bundle.files.end()) return v;
  ASSIGN_OR_RETURN(const json file, ParseJson(config->second, "tokenizer_config.json"));
  const json added = file.value("added_tokens_decoder", json::object());
  for (const auto& [id, token] : added.items()) {
    Put(std::stoll(id), token["content"].get<std::string>(), GgufTokenType::kControl, &v);
  }
  return v;
}

GgufVocabulary OfBytes(const Tokenizer& tokenizer) {
  GgufVocabulary v{.model = "gpt2", .pre = "gpt-2"};
  for (int32_t id = 0; id < 256; ++id) {
    Put(id, ByteCharacters()[static_cast<size_t>(id)], GgufTokenType::kNormal, &v);
  }
  Put(*tokenizer.bos_id(), "<|bos|>", GgufTokenType::kControl, &v);
  Put(*tokenizer.eos_id(), "<|eos|>", GgufTokenType::kControl, &v);
  return v;
}

}  // namespace

absl::StatusOr<GgufVocabulary> ByteLevelVocabulary(const Tokenizer& tokenizer) {
  if (tokenizer.kind() == "byte") return OfBytes(tokenizer);
  ASSIGN_OR_RETURN(const TokenizerBundle bundle,
                   ParseBundle(tokenizer.model(), tokenizer.kind(), "the checkpoint's tokenizer"));
  if (tokenizer.kind() == "tiktoken") return OfTiktoken(tokenizer, bundle);
  if (tokenizer.kind() == "tokenizer.json") return OfTokenizerJson(bundle.main_file());
  return NoPlace(absl::StrCat("it is of the kind ", tokenizer.kind()));
}

}  // namespace wyvern
