#include "data/tokenizer/id_tokenizer.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/io/json.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

std::vector<absl::string_view> Words(absl::string_view text) {
  return absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty());
}

class IdTokenizer final : public Tokenizer {
 public:
  IdTokenizer(int32_t vocab_size, int32_t eos_id)
      : vocab_size_(vocab_size),
        eos_id_(eos_id),
        model_(JsonText({{"eos_id", eos_id}, {"vocab_size", vocab_size}})) {}

  std::vector<int32_t> Encode(absl::string_view text) const override {
    std::vector<int32_t> ids;
    for (const absl::string_view word : Words(text)) {
      int32_t id = 0;
      if (absl::SimpleAtoi(word, &id) && IsId(id)) ids.push_back(id);
    }
    return ids;
  }
  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (IsId(id) && id != eos_id_) absl::StrAppend(&text, id, " ");
    }
    return text;
  }

  // The text of the ids is not known.
  std::string BytesOf(int32_t /*id*/) const override { return ""; }

  int64_t vocab_size() const override { return vocab_size_; }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  std::optional<int32_t> eos_id() const override { return eos_id_; }
  std::string kind() const override { return kIdTokenizerKind; }
  const std::string& model() const override { return model_; }

 private:
  bool IsId(int32_t id) const { return id >= 0 && id < vocab_size_; }

  const int32_t vocab_size_, eos_id_;
  const std::string model_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeIdTokenizer(int64_t vocab_size, int64_t eos_id) {
  if (vocab_size < 1 || vocab_size > INT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_size: expected 1 to ", INT32_MAX, ", got ", vocab_size));
  }
  if (eos_id < 0 || eos_id >= vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "eos_id: expected an id of the vocabulary, 0 to ", vocab_size - 1, ", got ", eos_id));
  }
  return std::make_unique<IdTokenizer>(static_cast<int32_t>(vocab_size),
                                       static_cast<int32_t>(eos_id));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeIdTokenizer(const std::string& model,
                                                           const std::string& origin) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(model, origin));
  const auto number = [&json](const char* name) {
    const bool has = json.is_object() && json.contains(name) && json[name].is_number_integer();
    return has ? json[name].get<int64_t>() : int64_t{-1};
  };
  absl::StatusOr<std::unique_ptr<Tokenizer>> made =
      MakeIdTokenizer(number("vocab_size"), number("eos_id"));
  if (made.ok()) return made;
  return absl::InvalidArgumentError(absl::StrCat(origin, ": ", made.status().message()));
}

absl::Status CheckIsIds(const Tokenizer& tokenizer, absl::string_view text) {
  if (tokenizer.kind() != kIdTokenizerKind) return absl::OkStatus();
  for (const absl::string_view word : Words(text)) {
    int32_t id = 0;
    if (absl::SimpleAtoi(word, &id) && id >= 0 && id < tokenizer.vocab_size()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "'", word, "' is no token id below ", tokenizer.vocab_size(),
        ": the tokenizer is not known, so text is ids as decimal numbers with spaces between"));
  }
  return absl::OkStatus();
}

}  // namespace wyvern
