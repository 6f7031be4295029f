#include "trainer/gguf/tokenizer.h"

#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "kernels/runtime/status.h"
#include "trainer/gguf/vocabulary.h"

namespace wyvern {
namespace {

constexpr char kPrefix[] = "tokenizer.ggml.";

// A tokenizer.json that llama.cpp has no place for may lie beside the SentencePiece model that it
// was made of.
absl::StatusOr<GgufVocabulary> VocabularyOf(const Tokenizer& tokenizer) {
  if (tokenizer.kind() == "sentencepiece") return SentencePieceVocabulary(tokenizer.model());
  absl::StatusOr<GgufVocabulary> vocabulary = ByteLevelVocabulary(tokenizer);
  const std::map<std::string, std::string> files = tokenizer.files();
  const auto model = files.find("tokenizer.model");
  if (vocabulary.ok() || model == files.end()) return vocabulary;
  return SentencePieceVocabulary(model->second);
}

// Fills the ids that stand for nothing, since llama.cpp wants a text of its own for each.
void Fill(int64_t vocab_size, GgufVocabulary* v) {
  v->tokens.resize(static_cast<size_t>(vocab_size));
  for (size_t id = 0; id < v->tokens.size(); ++id) {
    GgufVocabulary::Token& token = v->tokens[id];
    if (!token.text.empty()) continue;
    token = {
        .text = absl::StrCat("[PAD", id, "]"), .type = GgufTokenType::kUnused, .score = -10000};
  }
}

absl::Status CheckDistinct(const GgufVocabulary& v) {
  std::set<absl::string_view> texts;
  for (const GgufVocabulary::Token& token : v.tokens) {
    if (texts.insert(token.text).second) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("llama.cpp has no place for this tokenizer: two of its tokens are \"",
                     token.text, "\"; --no-tokenizer leaves it out"));
  }
  return absl::OkStatus();
}

// Whether a post_processor's template of one text begins with a special token.
bool BeginsWithSpecial(const nlohmann::json& processor) {
  if (!processor.is_object()) return false;
  for (const nlohmann::json& part : processor.value("processors", nlohmann::json::array())) {
    if (BeginsWithSpecial(part)) return true;
  }
  const nlohmann::json single = processor.value("single", nlohmann::json());
  return single.is_array() && !single.empty() && single[0].is_object() &&
         single[0].contains("SpecialToken");
}

}  // namespace

absl::StatusOr<bool> TokenizerAddsBos(const Tokenizer& tokenizer) {
  const std::map<std::string, std::string> files = tokenizer.files();
  if (const auto found = files.find("tokenizer_config.json"); found != files.end()) {
    ASSIGN_OR_RETURN(const nlohmann::json config, ParseJson(found->second, found->first));
    const auto member = config.find("add_bos_token");
    if (member != config.end() && member->is_boolean()) return member->get<bool>();
  }
  const auto found = files.find("tokenizer.json");
  if (found == files.end()) return false;
  ASSIGN_OR_RETURN(const nlohmann::json file, ParseJson(found->second, found->first));
  return file.contains("post_processor") && BeginsWithSpecial(file["post_processor"]);
}

absl::StatusOr<GgufTokenizer> MakeGgufTokenizer(const Tokenizer& tokenizer,
                                                const GgufTokenizerOptions& options) {
  ASSIGN_OR_RETURN(GgufVocabulary v, VocabularyOf(tokenizer));
  if (static_cast<int64_t>(v.tokens.size()) > options.vocab_size) {
    return absl::FailedPreconditionError(absl::StrCat("the tokenizer has ", v.tokens.size(),
                                                      " tokens, the model ", options.vocab_size,
                                                      "; --no-tokenizer leaves it out"));
  }
  Fill(options.vocab_size, &v);
  for (const std::optional<int32_t> id : {tokenizer.bos_id(), tokenizer.eos_id()}) {
    if (id.has_value()) v.tokens[static_cast<size_t>(*id)].type = GgufTokenType::kControl;
  }
  RETURN_IF_ERROR(CheckDistinct(v));
  GgufTokenizer made{.warnings = std::move(v.warnings)};
  const auto add = [&](absl::string_view key, GgufValue value) {
    made.metadata.emplace_back(absl::StrCat(kPrefix, key), std::move(value));
  };
  add("model", v.model);
  add("pre", v.pre);
  std::vector<std::string> texts;
  std::vector<int32_t> types;
  std::vector<float> scores;
  for (GgufVocabulary::Token& token : v.tokens) {
    texts.push_back(std::move(token.text));
    types.push_back(static_cast<int32_t>(token.type));
    scores.push_back(token.score);
  }
  add("tokens", std::move(texts));
  if (v.has_scores) add("scores", std::move(scores));
  add("token_type", std::move(types));
  if (!v.has_scores) add("merges", std::move(v.merges));
  made.metadata.insert(made.metadata.end(), v.more.begin(), v.more.end());
  const auto add_id = [&](absl::string_view key, std::optional<int32_t> id) {
    if (id.has_value()) add(key, static_cast<uint32_t>(*id));
  };
  add_id("bos_token_id", tokenizer.bos_id());
  add_id("eos_token_id", tokenizer.eos_id());
  add_id("eot_token_id", options.end_of_turn_id);
  if (options.padding_id >= 0) add("padding_token_id", static_cast<uint32_t>(options.padding_id));
  add("add_bos_token", options.add_bos && tokenizer.bos_id().has_value());
  add("add_eos_token", false);
  if (!tokenizer.eos_id().has_value()) {
    made.warnings.push_back(
        "the tokenizer has no eos, and llama.cpp takes some other token for one; its text may end "
        "early");
  }
  if (!options.chat_template.empty()) {
    made.metadata.emplace_back("tokenizer.chat_template", options.chat_template);
  }
  return made;
}

GgufMetadata NoGgufTokenizer() { return {{absl::StrCat(kPrefix, "model"), std::string("none")}}; }

}  // namespace wyvern
