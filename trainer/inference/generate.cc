#include "trainer/inference/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/tokenizer/id_tokenizer.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"
#include "layers/decode_graph.h"

namespace wyvern {
namespace {

// Tokens whose text is held back at most, waiting for the rest of a character.
constexpr size_t kMaxHeldTokens = 8;

// How much of the text ends on a whole UTF-8 character. A tokenizer gives either the bytes of the
// unfinished character or a replacement character for each of them. Bytes that can belong to no
// character are whole by themselves.
size_t WholeCharacters(absl::string_view text) {
  constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";
  size_t size = text.size();
  if (absl::EndsWith(text, kReplacement)) {
    while (absl::EndsWith(text.substr(0, size), kReplacement)) size -= kReplacement.size();
    return size;
  }
  for (size_t back = 1; back <= std::min<size_t>(3, size); ++back) {
    const auto byte = static_cast<uint8_t>(text[size - back]);
    if ((byte & 0xC0) == 0x80) continue;  // in the middle of a character
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? size - back : size;
  }
  return size;
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> Generate(Model* model, absl::Span<const int32_t> prompt,
                                              const GenerateOptions& options,
                                              const std::function<bool(int32_t)>& on_token) {
  RETURN_IF_ERROR(options.sampling.Validate());
  if (options.prefill_chunk < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("prefill_chunk: expected 1 or more, got ", options.prefill_chunk));
  }
  if (prompt.empty()) return absl::InvalidArgumentError("the prompt has no tokens");
  const int64_t vocab_size = model->config().vocab_size;
  for (const int32_t id : prompt) {
    if (id < 0 || id >= vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the prompt holds token ", id, ", beyond the model's vocabulary of ", vocab_size));
    }
  }

  DecodeCache cache;
  DecodeGraph graph(model, &cache);
  // Runs the tokens through the model and returns the output of the last one, [1, D].
  const auto read = [&](absl::Span<const int32_t> tokens) {
    Tape tape(/*recording=*/false);
    const auto size = static_cast<int64_t>(tokens.size());
    const Tensor ids =
        Tensor::FromVector(std::vector<int32_t>(tokens.begin(), tokens.end()), {size});
    const Packing packing = Packing::FromDocuments({0, static_cast<int32_t>(size)}, model->device(),
                                                   static_cast<int32_t>(cache.num_tokens()));
    const Var hidden = model->Hidden(tape, ids.To(model->device()), packing, &cache);
    return hidden.value().Rows(size - 1, size);
  };

  std::vector<int32_t> generated;
  if (options.max_tokens <= 0) return generated;
  Tensor hidden;
  for (size_t begin = 0; begin < prompt.size(); begin += options.prefill_chunk) {
    hidden = read(prompt.subspan(begin, options.prefill_chunk));
  }
  while (true) {
    const int64_t position = cache.num_tokens();
    const std::vector<float> logits = model->Logits(hidden).To(DType::kFloat32).ToVector<float>();
    if (std::all_of(logits.begin(), logits.end(), [](float x) { return std::isnan(x); })) {
      return absl::InternalError(absl::StrCat("the logits at position ", position,
                                              " are not numbers: the weights are damaged or the "
                                              "run that made them diverged"));
    }
    const int32_t token = SampleToken(logits, options.sampling, position);
    if (options.eos_id == token) return generated;
    generated.push_back(token);
    if (on_token && !on_token(token)) return generated;
    if (static_cast<int64_t>(generated.size()) == options.max_tokens) return generated;
    hidden = graph.Step({&token, 1});
  }
}

TextStream::TextStream(const Tokenizer& tokenizer, int32_t previous)
    : tokenizer_(tokenizer), context_({previous}), shown_(tokenizer.Decode(context_).size()) {}

std::string TextStream::Add(int32_t token) {
  context_.push_back(token);
  const std::string decoded = tokenizer_.Decode(context_);
  const size_t whole = context_.size() > kMaxHeldTokens ? decoded.size() : WholeCharacters(decoded);
  std::string piece;
  if (whole > shown_) piece = decoded.substr(shown_, whole - shown_);
  shown_ = std::max(shown_, whole);
  if (whole == decoded.size()) {
    context_ = {token};
    shown_ = tokenizer_.Decode(context_).size();
  }
  return piece;
}

std::string TextStream::Rest() const {
  const std::string decoded = tokenizer_.Decode(context_);
  return decoded.size() > shown_ ? decoded.substr(shown_) : "";
}

std::vector<int32_t> PromptIds(const Tokenizer& tokenizer, const std::string& prompt,
                               const GenerateOptions& options) {
  std::vector<int32_t> ids = tokenizer.Encode(prompt);
  const std::optional<int32_t> bos = options.add_bos ? tokenizer.bos_id() : std::nullopt;
  if (bos.has_value() && (ids.empty() || ids.front() != *bos)) ids.insert(ids.begin(), *bos);
  return ids;
}

absl::StatusOr<GeneratedText> GenerateText(Model* model, const Tokenizer& tokenizer,
                                           const std::string& prompt, GenerateOptions options,
                                           const std::function<bool(const std::string&)>& on_text) {
  RETURN_IF_ERROR(CheckIsIds(tokenizer, prompt));
  std::vector<int32_t> ids = PromptIds(tokenizer, prompt, options);
  if (ids.empty()) {
    const std::optional<int32_t> start =
        tokenizer.bos_id().has_value() ? tokenizer.bos_id() : tokenizer.eos_id();
    if (!start.has_value()) {
      return absl::InvalidArgumentError(
          "the prompt is empty and the tokenizer has neither bos nor eos; give some text");
    }
    ids.push_back(*start);
  }
  options.eos_id = tokenizer.eos_id();

  GeneratedText result;
  TextStream stream(tokenizer, ids.back());
  const auto on_token = [&](int32_t token) {
    const std::string piece = stream.Add(token);
    result.text += piece;
    return !on_text || piece.empty() || on_text(piece);
  };
  ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, Generate(model, ids, options, on_token));
  result.num_tokens = static_cast<int64_t>(tokens.size());
  return result;
}

}  // namespace wyvern
