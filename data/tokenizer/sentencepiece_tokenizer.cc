#include "data/tokenizer/sentencepiece_tokenizer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/io/utf8.h"
#include "data/tokenizer/sentencepiece_api.h"
#include "data/tokenizer/sentencepiece_encoder.h"
#include "data/tokenizer/sentencepiece_file.h"

namespace wyvern {
namespace {

// The tokenizer_config.json with which transformers 5 makes a tokenizer of the model: by this class
// it follows the model's own settings, where LlamaTokenizer takes any model for Llama's BPE.
// Empty for a model that cannot be read.
std::string TransformersConfig(const std::string& model, std::optional<int32_t> bos,
                               std::optional<int32_t> eos) {
  const std::optional<SentencePieceFile> file = ReadSentencePieceFile(model);
  if (!file.has_value()) return "";
  const auto text_of = [&](std::optional<int32_t> id) {
    const bool is_known = id.has_value() && static_cast<size_t>(*id) < file->pieces.size();
    return is_known ? nlohmann::json(file->pieces[static_cast<size_t>(*id)].text)
                    : nlohmann::json();
  };
  const auto unknown =
      std::find_if(file->pieces.begin(), file->pieces.end(),
                   [](const auto& piece) { return piece.type == SentencePieceFile::kUnknown; });
  const nlohmann::json config = {
      {"tokenizer_class", "PreTrainedTokenizerFast"},
      {"bos_token", text_of(bos)},
      {"eos_token", text_of(eos)},
      {"unk_token",
       unknown == file->pieces.end() ? nlohmann::json() : nlohmann::json(unknown->text)},
      {"add_bos_token", false},
      {"add_eos_token", false},
      {"add_prefix_space", file->add_dummy_prefix},
      {"clean_up_tokenization_spaces", false}};
  return JsonText(config, 2) + "\n";
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<SentencePieceModel> pieces, std::string model)
      : pieces_(std::move(pieces)),
        model_(std::move(model)),
        encoder_(SentencePieceEncoder::Make(model_)) {
    const std::optional<SentencePieceFile> file = ReadSentencePieceFile(model_);
    for (size_t i = 0; file.has_value() && i < file->pieces.size(); ++i) {
      const uint64_t type = file->pieces[i].type;
      const bool is_added =
          type == SentencePieceFile::kControl || type == SentencePieceFile::kUserDefined;
      if (is_added) added_.insert(static_cast<int32_t>(i));
    }
  }

  std::vector<int32_t> Encode(absl::string_view text) const override {
    if (encoder_ != nullptr && Utf8PrefixLength(text) == text.size()) return encoder_->Encode(text);
    return pieces_->Encode({text.data(), text.size()});
  }
  // Behind a newline, no space is put before the text.
  std::vector<int32_t> EncodeBehind(absl::string_view text) const override {
    const std::vector<int32_t> newline = Encode("\n");
    std::vector<int32_t> ids = Encode(absl::StrCat("\n", text));
    if (ids.size() < newline.size() || !std::equal(newline.begin(), newline.end(), ids.begin())) {
      return Encode(text);  // a token covers both
    }
    ids.erase(ids.begin(), ids.begin() + static_cast<int64_t>(newline.size()));
    return ids;
  }
  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::vector<int32_t> known;
    known.reserve(ids.size());
    for (const int32_t id : ids) {
      if (id >= 0 && id < pieces_->vocab_size()) known.push_back(id);
    }
    return pieces_->Decode(known);
  }
  std::string BytesOf(int32_t id) const override { return pieces_->BytesOf(id); }
  bool is_added(int32_t id) const override { return added_.count(id) > 0; }
  int64_t vocab_size() const override { return pieces_->vocab_size(); }
  std::optional<int32_t> bos_id() const override { return IdOrNone(pieces_->bos_id()); }
  std::optional<int32_t> eos_id() const override { return IdOrNone(pieces_->eos_id()); }
  std::string kind() const override { return "sentencepiece"; }
  const std::string& model() const override { return model_; }
  std::map<std::string, std::string> files() const override {
    std::map<std::string, std::string> files = {{"tokenizer.model", model_}};
    std::string config = TransformersConfig(model_, bos_id(), eos_id());
    if (!config.empty()) files["tokenizer_config.json"] = std::move(config);
    return files;
  }

 private:
  static std::optional<int32_t> IdOrNone(int id) {
    return id < 0 ? std::nullopt : std::optional<int32_t>(id);
  }

  const std::unique_ptr<SentencePieceModel> pieces_;
  const std::string model_;
  const std::unique_ptr<SentencePieceEncoder> encoder_;  // null: the library encodes everything
  std::set<int32_t> added_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(const std::string& model,
                                                                      const std::string& origin) {
  std::string error;
  std::unique_ptr<SentencePieceModel> pieces = SentencePieceModel::Load(model, &error);
  if (pieces == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": not a SentencePiece model, or a truncated or damaged one (",
                     model.size(), " bytes; ", error, ")"));
  }
  return std::make_unique<SentencePieceTokenizer>(std::move(pieces), model);
}

}  // namespace wyvern
