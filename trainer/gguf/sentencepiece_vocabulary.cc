#include <optional>

#include "absl/strings/str_cat.h"
#include "data/tokenizer/sentencepiece_file.h"
#include "trainer/gguf/vocabulary.h"

namespace wyvern {
namespace {

absl::Status NoPlace(absl::string_view what) {
  return absl::FailedPreconditionError(
      absl::StrCat("llama.cpp has no place for this SentencePiece model: ", what,
                   "; --no-tokenizer leaves it out"));
}

}  // namespace

absl::StatusOr<GgufVocabulary> SentencePieceVocabulary(absl::string_view model) {
  const std::optional<SentencePieceFile> file = ReadSentencePieceFile(model);
  if (!file.has_value()) return absl::DataLossError("the SentencePiece model is damaged");
  if (file->model_type != SentencePieceFile::kBpe) {
    return NoPlace("it is not of BPE, and llama.cpp's unigram has no byte_fallback");
  }
  if (file->treat_whitespace_as_suffix) return NoPlace("it has treat_whitespace_as_suffix");
  if (!file->escape_whitespaces) return NoPlace("it has escape_whitespaces: false");
  GgufVocabulary v{.model = "llama", .pre = "default", .has_scores = true};
  v.more.emplace_back("tokenizer.ggml.add_space_prefix", file->add_dummy_prefix);
  if (file->has_character_map) {
    v.warnings.push_back(
        "llama.cpp does not normalise text as this SentencePiece model does "
        "(normalization_rule_name); text that it changes gets other ids");
  }
  if (file->remove_extra_whitespaces) {
    v.warnings.push_back(
        "llama.cpp does not remove extra white space as this SentencePiece model does; text that "
        "has it gets other ids");
  }
  for (const SentencePieceFile::Piece& piece : file->pieces) {
    if (piece.type == SentencePieceFile::kUnknown) {
      v.more.emplace_back("tokenizer.ggml.unknown_token_id",
                          static_cast<uint32_t>(v.tokens.size()));
    }
    // The numbers of the types are the same.
    v.tokens.push_back({piece.text, static_cast<GgufTokenType>(piece.type), piece.score});
  }
  return v;
}

}  // namespace wyvern
