#include "data/tokenizer/sentencepiece_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/utf8.h"
#include "data/tokenizer/sentencepiece_api.h"
#include "data/tokenizer/sentencepiece_encoder.h"

namespace wyvern {
namespace {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<SentencePieceModel> pieces, std::string model)
      : pieces_(std::move(pieces)),
        model_(std::move(model)),
        encoder_(SentencePieceEncoder::Make(model_)) {}

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
  int64_t vocab_size() const override { return pieces_->vocab_size(); }
  std::optional<int32_t> bos_id() const override { return IdOrNone(pieces_->bos_id()); }
  std::optional<int32_t> eos_id() const override { return IdOrNone(pieces_->eos_id()); }
  std::string kind() const override { return "sentencepiece"; }
  const std::string& model() const override { return model_; }
  std::map<std::string, std::string> files() const override {
    return {{"tokenizer.model", model_}};
  }

 private:
  static std::optional<int32_t> IdOrNone(int id) {
    return id < 0 ? std::nullopt : std::optional<int32_t>(id);
  }

  const std::unique_ptr<SentencePieceModel> pieces_;
  const std::string model_;
  const std::unique_ptr<SentencePieceEncoder> encoder_;  // null: the library encodes everything
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
