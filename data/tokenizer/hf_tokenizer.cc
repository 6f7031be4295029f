#include "data/tokenizer/hf_tokenizer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/io/json.h"
#include "data/tokenizer/bpe_model.h"
#include "data/tokenizer/json_part.h"
#include "data/tokenizer/pipeline_tokenizer.h"
#include "data/tokenizer/unigram_model.h"
#include "data/tokenizer/word_piece_model.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// The number as tokenizers reads it (serde_json): the shortest digits as an integer, which is
// rounded, times or by a power of ten, rounded again. It decides between divisions of a text whose
// scores have equal sums.
double AsTokenizersReads(double value) {
  std::array<char, 32> text;
  const auto written = std::to_chars(text.data(), text.data() + text.size(), std::abs(value),
                                     std::chars_format::scientific);
  const absl::string_view shortest(text.data(), static_cast<size_t>(written.ptr - text.data()));
  const size_t mark = shortest.find('e');
  int exponent = 0;
  if (!std::isfinite(value) || mark == absl::string_view::npos ||
      !absl::SimpleAtoi(shortest.substr(mark + 1), &exponent)) {
    return value;
  }
  uint64_t digits = 0;
  for (size_t at = 0; at < mark; ++at) {
    if (shortest[at] == '.') continue;
    digits = 10 * digits + static_cast<uint64_t>(shortest[at] - '0');
    if (at > 1) --exponent;  // behind the point
  }
  double power = 1;
  if (std::abs(exponent) > 308 ||
      !absl::SimpleAtod(absl::StrCat("1e", std::abs(exponent)), &power)) {
    return value;
  }
  const auto whole = static_cast<double>(digits);
  return std::copysign(exponent < 0 ? whole / power : whole * power, value);
}

class Reader {
 public:
  Reader(TokenizerBundle bundle, const JsonPart& root) : root_(root) {
    parts_.kind = "tokenizer.json";
    parts_.bundle = std::move(bundle);
    parts_.vocabulary = std::make_unique<Vocabulary>();
  }

  absl::StatusOr<TokenizerParts> Read() {
    RETURN_IF_ERROR(
        root_.CheckKeys({"version", "truncation", "padding", "added_tokens", "normalizer",
                         "pre_tokenizer", "post_processor", "decoder", "model"}));
    if (!root_.At("version").is_null() && root_.At("version").value() != "1.0") {
      return root_.At("version").Expected("1.0");
    }
    ASSIGN_OR_RETURN(parts_.normalizers, MakeNormalizers(root_.At("normalizer")));
    ASSIGN_OR_RETURN(parts_.pre_tokenization, MakePreTokenization(root_.At("pre_tokenizer")));
    ASSIGN_OR_RETURN(parts_.decoding, MakeTokenDecoding(root_.At("decoder")));
    RETURN_IF_ERROR(CheckPostProcessor(root_.At("post_processor")));
    RETURN_IF_ERROR(ReadModel(root_.At("model")));
    RETURN_IF_ERROR(ReadAddedTokens(root_.At("added_tokens")));
    return std::move(parts_);
  }

 private:
  // It adds special tokens around a text, which is the caller's affair here.
  absl::Status CheckPostProcessor(const JsonPart& part) {
    if (part.is_null()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::string type, part.At("type").Text());
    if (type == "Sequence") {
      ASSIGN_OR_RETURN(const size_t size, part.At("processors").ListSize());
      for (size_t i = 0; i < size; ++i) {
        RETURN_IF_ERROR(CheckPostProcessor(part.At("processors").At(i)));
      }
      return absl::OkStatus();
    }
    for (const char* const known :
         {"TemplateProcessing", "ByteLevel", "BertProcessing", "RobertaProcessing"}) {
      if (type == known) return absl::OkStatus();
    }
    return part.At("type").Error(
        absl::StrCat("Wyvern does not know a post-processor '", type, "'"));
  }

  absl::Status ReadModel(const JsonPart& part) {
    std::string type;
    if (!part.At("type").is_null()) {
      ASSIGN_OR_RETURN(type, part.At("type").Text());
    } else if (!part.At("merges").is_null()) {
      type = "BPE";  // files of earlier versions do not say it
    }
    if (type != "BPE") {
      // Only the pieces of a BPE model stay bytes.
      if (parts_.pre_tokenization.byte_level) KeepBytesAsCharacters(&parts_.pre_tokenization);
    }
    if (type == "BPE") return ReadBpe(part);
    if (type == "Unigram") return ReadUnigram(part);
    if (type == "WordPiece") return ReadWordPiece(part);
    return part.At("type").Error(
        absl::StrCat("Wyvern has no model '", type, "'; it has BPE, Unigram and WordPiece"));
  }

  absl::Status ReadVocabulary(const JsonPart& part) {
    if (!part.value().is_object()) return part.Expected("an object of tokens and ids");
    for (const auto& [token, id] : part.value().items()) {
      const JsonPart entry = part.At(token);
      ASSIGN_OR_RETURN(const int64_t number, entry.Count());
      if (!parts_.vocabulary->Add(token, number)) {
        return entry.Error(absl::StrCat(number, " is another token's id, or too large"));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<int32_t> FindToken(const JsonPart& part) {
    ASSIGN_OR_RETURN(const std::string token, part.Text());
    const std::optional<int32_t> id = parts_.vocabulary->Find(token);
    if (!id.has_value()) return part.Error(absl::StrCat("'", token, "' is not in the vocabulary"));
    return *id;
  }

  absl::Status ReadBpe(const JsonPart& part) {
    RETURN_IF_ERROR(
        part.CheckKeys({"vocab", "merges", "dropout", "unk_token", "continuing_subword_prefix",
                        "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges"}));
    const JsonPart dropout = part.At("dropout");
    if (!dropout.is_null() && dropout.value() != 0.0) {
      return dropout.Error(
          "merges that are left out at random are not for making token stores; "
          "set it to null");
    }
    RETURN_IF_ERROR(ReadVocabulary(part.At("vocab")));
    BpeOptions options;
    if (!part.At("unk_token").is_null()) {
      ASSIGN_OR_RETURN(options.unk, FindToken(part.At("unk_token")));
    }
    ASSIGN_OR_RETURN(options.fuse_unk, part.At("fuse_unk").Bool(false));
    ASSIGN_OR_RETURN(options.byte_fallback, part.At("byte_fallback").Bool(false));
    ASSIGN_OR_RETURN(options.ignore_merges, part.At("ignore_merges").Bool(false));
    if (!part.At("continuing_subword_prefix").is_null()) {
      ASSIGN_OR_RETURN(options.continuing_prefix, part.At("continuing_subword_prefix").Text());
    }
    if (!part.At("end_of_word_suffix").is_null()) {
      ASSIGN_OR_RETURN(options.word_suffix, part.At("end_of_word_suffix").Text());
    }
    std::vector<BpeMerge> merges;
    RETURN_IF_ERROR(ReadMerges(part.At("merges"), options.continuing_prefix.size(), &merges));
    const bool plain = options.continuing_prefix.empty() && options.word_suffix.empty();
    if (parts_.pre_tokenization.byte_level && !plain) {
      KeepBytesAsCharacters(&parts_.pre_tokenization);
    }
    options.byte_level = parts_.pre_tokenization.byte_level;
    parts_.model = MakeBpeModel(*parts_.vocabulary, merges, options);
    return absl::OkStatus();
  }

  // A list of "left right", or of pairs.
  absl::Status ReadMerges(const JsonPart& part, size_t prefix, std::vector<BpeMerge>* merges) {
    ASSIGN_OR_RETURN(const size_t size, part.ListSize());
    uint32_t rank = 0;
    for (size_t i = 0; i < size; ++i) {
      const nlohmann::json& merge = part.value()[i];
      std::string left, right;
      if (merge.is_string()) {
        const std::string& text = merge.get_ref<const std::string&>();
        if (absl::StartsWith(text, "#version")) continue;
        const std::vector<std::string> both = absl::StrSplit(text, ' ');
        if (both.size() != 2) return part.At(i).Expected("two tokens with a space between them");
        left = both[0];
        right = both[1];
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        left = merge[0].get<std::string>();
        right = merge[1].get<std::string>();
      } else {
        return part.At(i).Expected("two tokens");
      }
      if (right.size() < prefix) return part.At(i).Expected("a token with the prefix of words");
      const std::optional<int32_t> left_id = parts_.vocabulary->Find(left);
      const std::optional<int32_t> right_id = parts_.vocabulary->Find(right);
      const std::optional<int32_t> joined =
          parts_.vocabulary->Find(absl::StrCat(left, right.substr(prefix)));
      if (!left_id.has_value() || !right_id.has_value() || !joined.has_value()) {
        return part.At(i).Expected("tokens of the vocabulary that join to one of it");
      }
      merges->push_back({*left_id, *right_id, *joined, rank++});
    }
    return absl::OkStatus();
  }

  absl::Status ReadUnigram(const JsonPart& part) {
    RETURN_IF_ERROR(part.CheckKeys({"vocab", "unk_id", "byte_fallback"}));
    const JsonPart vocab = part.At("vocab");
    ASSIGN_OR_RETURN(const size_t size, vocab.ListSize());
    std::vector<double> scores;
    for (size_t i = 0; i < size; ++i) {
      const nlohmann::json& entry = vocab.value()[i];
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() ||
          !entry[1].is_number()) {
        return vocab.At(i).Expected("a token and its score");
      }
      if (!parts_.vocabulary->Add(entry[0].get<std::string>(), static_cast<int64_t>(i))) {
        return vocab.At(i).Error("the token is there twice, or there are too many");
      }
      scores.push_back(AsTokenizersReads(entry[1].get<double>()));
    }
    const JsonPart unk = part.At("unk_id");
    if (unk.is_null()) return unk.Error("without it some texts have no ids; give an id");
    ASSIGN_OR_RETURN(const int64_t unk_id, unk.Count());
    if (unk_id >= static_cast<int64_t>(size)) return unk.Expected("an id of the vocabulary");
    ASSIGN_OR_RETURN(const bool fallback, part.At("byte_fallback").Bool(false));
    parts_.model =
        MakeUnigramModel(*parts_.vocabulary, scores, static_cast<int32_t>(unk_id), fallback);
    return absl::OkStatus();
  }

  absl::Status ReadWordPiece(const JsonPart& part) {
    RETURN_IF_ERROR(part.CheckKeys(
        {"vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"}));
    RETURN_IF_ERROR(ReadVocabulary(part.At("vocab")));
    WordPieceOptions options;
    ASSIGN_OR_RETURN(options.unk, FindToken(part.At("unk_token")));
    ASSIGN_OR_RETURN(options.prefix, part.At("continuing_subword_prefix").Text());
    ASSIGN_OR_RETURN(options.max_characters, part.At("max_input_chars_per_word").Count());
    if (options.max_characters > 10000) {
      return part.At("max_input_chars_per_word").Expected("at most 10000");
    }
    parts_.model = MakeWordPieceModel(*parts_.vocabulary, options);
    return absl::OkStatus();
  }

  absl::Status ReadAddedTokens(const JsonPart& part) {
    if (part.is_null()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const size_t size, part.ListSize());
    auto next_id = static_cast<int64_t>(parts_.vocabulary->size());
    std::map<std::string, size_t> known;
    for (size_t i = 0; i < size; ++i) {
      const JsonPart entry = part.At(i);
      RETURN_IF_ERROR(entry.CheckKeys(
          {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
      AddedToken token;
      ASSIGN_OR_RETURN(token.content, entry.At("content").Text());
      ASSIGN_OR_RETURN(const int64_t id, entry.At("id").Count());
      ASSIGN_OR_RETURN(token.single_word, entry.At("single_word").Bool());
      ASSIGN_OR_RETURN(token.lstrip, entry.At("lstrip").Bool());
      ASSIGN_OR_RETURN(token.rstrip, entry.At("rstrip").Bool());
      ASSIGN_OR_RETURN(token.normalized, entry.At("normalized").Bool());
      ASSIGN_OR_RETURN(token.special, entry.At("special").Bool());
      if (token.content.empty()) continue;
      if (!known.try_emplace(token.content, i).second) {
        return entry.At("content").Error(
            absl::StrCat("'", token.content, "' is there twice; remove one"));
      }
      // A token of the model keeps its id, another one gets the next, whatever the file says.
      const std::optional<int32_t> in_model = parts_.vocabulary->Find(token.content);
      const int64_t given = in_model.has_value() ? *in_model : next_id++;
      if (given != id) {
        return entry.At("id").Error(absl::StrCat(id, ", but tokenizers gives '", token.content,
                                                 "' the id ", given, "; correct the file"));
      }
      token.id = static_cast<int32_t>(id);
      parts_.added_tokens.push_back(std::move(token));
    }
    return absl::OkStatus();
  }

  const JsonPart root_;
  TokenizerParts parts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeHfTokenizer(TokenizerBundle bundle,
                                                           const std::string& origin) {
  ASSIGN_OR_RETURN(const nlohmann::json value, ParseJson(bundle.main_file(), origin));
  if (!value.is_object() || !value.contains("model")) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": JSON, but no tokenizer.json: it has no \"model\""));
  }
  Reader reader(std::move(bundle), JsonPart(value, origin, ""));
  ASSIGN_OR_RETURN(TokenizerParts parts, reader.Read());
  return MakePipelineTokenizer(std::move(parts), origin);
}

}  // namespace wyvern
