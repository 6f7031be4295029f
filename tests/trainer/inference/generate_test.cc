#include "trainer/inference/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/tokenizer/byte_tokenizer.h"
#include "tests/trainer/tiny_model.h"

namespace wyvern {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> Log(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

// How often each token comes in `draws` positions.
std::vector<double> Frequencies(const std::vector<float>& logits, const SamplingOptions& options,
                                int draws = 20000) {
  std::vector<double> frequency(logits.size());
  for (int i = 0; i < draws; ++i) frequency[SampleToken(logits, options, i)] += 1;
  for (double& f : frequency) f /= draws;
  return frequency;
}

// Four standard deviations of a binomial; nothing at all where the probability is zero.
void ExpectDistribution(const std::vector<double>& frequency, const std::vector<double>& expected,
                        int draws = 20000) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const double limit = 4 * std::sqrt(expected[i] * (1 - expected[i]) / draws);
    EXPECT_NEAR(frequency[i], expected[i], limit) << "token " << i;
  }
}

TEST(SampleToken, FollowsTheSoftmax) {
  ExpectDistribution(Frequencies(Log({0.1, 0.5, 0.25, 0.15}), {}), {0.1, 0.5, 0.25, 0.15});
  // Logits need not be normalised.
  ExpectDistribution(Frequencies({100, 100 + std::log(3.0f), -kInf}, {}), {0.25, 0.75, 0});
}

TEST(SampleToken, TemperatureFlattensAndSharpens) {
  // p^(1/T): squares for T = 1/2, square roots for T = 2.
  ExpectDistribution(Frequencies(Log({0.2, 0.8}), {.temperature = 0.5}), {1.0 / 17, 16.0 / 17});
  ExpectDistribution(Frequencies(Log({0.2, 0.8}), {.temperature = 2}), {1.0 / 3, 2.0 / 3});
  ExpectDistribution(Frequencies(Log({0.2, 0.8}), {.temperature = 0}), {0, 1});
  ExpectDistribution(Frequencies(Log({0.2, 0.8}), {.temperature = 1e-30}), {0, 1});
}

TEST(SampleToken, TopKKeepsTheLikeliest) {
  const std::vector<float> logits = Log({0.1, 0.5, 0.25, 0.15});
  ExpectDistribution(Frequencies(logits, {.top_k = 2}), {0, 2.0 / 3, 1.0 / 3, 0});
  ExpectDistribution(Frequencies(logits, {.top_k = 1}), {0, 1, 0, 0});
  ExpectDistribution(Frequencies(logits, {.top_k = 4}), {0.1, 0.5, 0.25, 0.15});
  ExpectDistribution(Frequencies(logits, {.top_k = 1000}), {0.1, 0.5, 0.25, 0.15});
  // Among equals the lower ids are taken.
  ExpectDistribution(Frequencies({1, 2, 2, 2}, {.top_k = 2}), {0, 0.5, 0.5, 0});
}

TEST(SampleToken, TopPKeepsTheFewestThatReachIt) {
  const std::vector<float> logits = Log({0.1, 0.5, 0.25, 0.15});
  ExpectDistribution(Frequencies(logits, {.top_p = 1}), {0.1, 0.5, 0.25, 0.15});
  ExpectDistribution(Frequencies(logits, {.top_p = 0.8}), {0, 5.0 / 9, 2.5 / 9, 1.5 / 9});
  ExpectDistribution(Frequencies(logits, {.top_p = 0.7}), {0, 2.0 / 3, 1.0 / 3, 0});
  ExpectDistribution(Frequencies(logits, {.top_p = 0.4}), {0, 1, 0, 0});
  ExpectDistribution(Frequencies(logits, {.top_p = 1e-12}), {0, 1, 0, 0});
  // Exactly reached: 0.5 and 0.25 are exact in binary.
  ExpectDistribution(Frequencies({0, 0, 0, 0}, {.top_p = 0.5}), {0.5, 0.5, 0, 0});
  // top_p acts on the top k's own distribution.
  ExpectDistribution(Frequencies(logits, {.top_k = 2, .top_p = 0.66}), {0, 1, 0, 0});
}

TEST(SampleToken, GreedyTakesTheFirstOfTheLargest) {
  const SamplingOptions greedy = {.temperature = 0};
  EXPECT_EQ(SampleToken(std::vector<float>{1, 3, 3, 2}, greedy, 0), 1);
  EXPECT_EQ(SampleToken(std::vector<float>{kNan, -1, kNan, -2}, greedy, 0), 1);
  EXPECT_EQ(SampleToken(std::vector<float>{0, kInf, 5}, {}, 3), 1);
}

TEST(SampleToken, NeverTakesWhatIsNotANumber) {
  ExpectDistribution(Frequencies({kNan, 0, kNan, 0}, {}), {0, 0.5, 0, 0.5});
  ExpectDistribution(Frequencies({kNan, 0, kNan, 0}, {.top_k = 3}), {0, 0.5, 0, 0.5});
}

TEST(SampleToken, IsAFunctionOfSeedAndPosition) {
  const std::vector<float> logits(50, 0);
  const auto draw = [&](uint64_t seed) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < 40; ++i) tokens.push_back(SampleToken(logits, {.seed = seed}, i));
    return tokens;
  };
  EXPECT_EQ(draw(7), draw(7));
  EXPECT_NE(draw(7), draw(8));
}

TEST(SamplingOptions, FaultsNameTheOption) {
  for (const auto& [options, name] :
       std::vector<std::pair<SamplingOptions, std::string>>{{{.temperature = -1}, "temperature"},
                                                            {{.temperature = kNan}, "temperature"},
                                                            {{.top_k = -1}, "top_k"},
                                                            {{.top_p = 0}, "top_p"},
                                                            {{.top_p = 1.01}, "top_p"},
                                                            {{.top_p = kNan}, "top_p"}}) {
    const absl::Status status = options.Validate();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_EQ(std::string(status.message()).substr(0, name.size()), name) << status;
  }
  EXPECT_TRUE(SamplingOptions().Validate().ok());
  EXPECT_TRUE(SamplingOptions{.temperature = 0}.Validate().ok());  // greedy
}

// Without a cache: the whole sequence through the model for every token.
std::vector<int32_t> GreedyByRecomputation(Model* model, std::vector<int32_t> tokens, int count) {
  std::vector<int32_t> generated;
  while (static_cast<int>(generated.size()) < count) {
    Tape tape(false);
    const auto size = static_cast<int64_t>(tokens.size());
    const Packing packing = Packing::FromDocuments({0, static_cast<int32_t>(size)}, Device::kCpu);
    const Tensor hidden = model->Hidden(tape, Tensor::FromVector(tokens, {size}), packing).value();
    const auto logits = model->Logits(hidden.Rows(size - 1, size)).ToVector<float>();
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    tokens.push_back(static_cast<int32_t>(best));
    generated.push_back(static_cast<int32_t>(best));
  }
  return generated;
}

TEST(Generate, GreedyEqualsRecomputationForEveryPrefillChunk) {
  const auto model = TinyModel(60);
  std::vector<int32_t> prompt;
  for (int i = 0; i < 21; ++i) prompt.push_back(i * 17 % 60);
  const std::vector<int32_t> expected = GreedyByRecomputation(model.get(), prompt, 30);
  for (const int64_t chunk : {1, 2, 5, 20, 21, 512}) {
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.max_tokens = 30;
    options.prefill_chunk = chunk;
    const auto generated = Generate(model.get(), prompt, options);
    ASSERT_TRUE(generated.ok()) << generated.status();
    EXPECT_EQ(*generated, expected) << "chunk " << chunk;
  }
  // Not one token over and over, which a broken cache could hit as well.
  EXPECT_GT(std::set<int32_t>(expected.begin(), expected.end()).size(), 5u);
}

TEST(Generate, RepeatsWithTheSeed) {
  const auto model = TinyModel(60);
  const auto run = [&](uint64_t seed, int64_t chunk) {
    GenerateOptions options;
    options.sampling.seed = seed;
    options.max_tokens = 25;
    options.prefill_chunk = chunk;
    return *Generate(model.get(), {3, 1, 4}, options);
  };
  EXPECT_EQ(run(5, 512), run(5, 512));
  EXPECT_NE(run(5, 512), run(6, 512));
}

TEST(Generate, StopsAtEosAtTheLimitAndWhenTold) {
  const auto model = TinyModel(60);
  GenerateOptions options;
  options.sampling.temperature = 0;
  options.max_tokens = 12;
  const std::vector<int32_t> all = *Generate(model.get(), {1, 2}, options);
  EXPECT_EQ(all.size(), 12u);
  options.eos_id = all[5];
  const auto first = std::find(all.begin(), all.end(), all[5]);
  EXPECT_EQ(*Generate(model.get(), {1, 2}, options), std::vector<int32_t>(all.begin(), first));
  options.eos_id = {};
  int seen = 0;
  const auto stopped = Generate(model.get(), {1, 2}, options, [&](int32_t) { return ++seen < 4; });
  EXPECT_EQ(*stopped, std::vector<int32_t>(all.begin(), all.begin() + 4));
  options.max_tokens = 0;
  EXPECT_TRUE(Generate(model.get(), {1, 2}, options)->empty());
}

TEST(Generate, RefusesABadPrompt) {
  const auto model = TinyModel(60);
  EXPECT_TRUE(absl::IsInvalidArgument(Generate(model.get(), {}, {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Generate(model.get(), {0, 60}, {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Generate(model.get(), {-1}, {}).status()));
}

// Ids 0 to 9 are the bytes of "h\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x89" in turn; a decoder gives
// either the bytes themselves or, as SentencePiece does, U+FFFD for each byte of a torn character.
class PieceTokenizer : public Tokenizer {
 public:
  explicit PieceTokenizer(bool replace) : replace_(replace) {}
  std::vector<int32_t> Encode(absl::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<int32_t>(kBytes.find(c)));
    return ids;
  }
  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::string bytes;
    for (const int32_t id : ids) bytes += kBytes[id % kBytes.size()];
    if (!replace_) return bytes;
    std::string text;
    for (size_t i = 0; i < bytes.size();) {
      const auto lead = static_cast<uint8_t>(bytes[i]);
      const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
      const bool torn = (lead & 0xC0) == 0x80 || i + length > bytes.size();
      text += torn ? "\xEF\xBF\xBD" : bytes.substr(i, length);
      i += torn ? 1 : length;
    }
    return text;
  }
  int64_t vocab_size() const override { return 10; }
  std::optional<int32_t> bos_id() const override { return {}; }
  std::optional<int32_t> eos_id() const override { return {}; }
  std::string kind() const override { return "test"; }
  const std::string& model() const override { return kBytes; }

  const std::string kBytes = "h\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x89";

 private:
  bool replace_;
};

TEST(StreamedText, ComesInWholeCharacters) {
  for (const bool replace : {false, true}) {
    const PieceTokenizer tokenizer(replace);
    TextStream stream(tokenizer, /*previous=*/0);
    std::vector<std::string> pieces;
    for (int32_t id = 0; id < 10; ++id) pieces.push_back(stream.Add(id));
    EXPECT_EQ(pieces, (std::vector<std::string>{"h", "", "\xc3\xa9", "", "", "\xe2\x82\xac", "", "",
                                                "", "\xf0\x9f\x90\x89"}));
  }
}

TEST(StreamedText, DoesNotWaitForeverForACharacterThatNeverEnds) {
  const PieceTokenizer tokenizer(/*replace=*/true);
  TextStream stream(tokenizer, 0);
  std::string text;
  for (int i = 0; i < 20; ++i) text += stream.Add(4);  // only the middle of one
  EXPECT_GE(text.size(), 3u * 9);
}

TEST(GenerateText, IsTheDecodedTokens) {
  const auto tokenizer = MakeByteTokenizer();
  const auto model = TinyModel(tokenizer->vocab_size());
  GenerateOptions options;
  options.max_tokens = 40;
  std::string streamed;
  const auto generated =
      GenerateText(model.get(), *tokenizer, "Wyvern", options, [&](const std::string& piece) {
        streamed += piece;
        return true;
      });
  ASSERT_TRUE(generated.ok()) << generated.status();
  EXPECT_EQ(generated->text, streamed);
  options.eos_id = tokenizer->eos_id();
  const auto tokens = Generate(model.get(), tokenizer->Encode("Wyvern"), options);
  EXPECT_EQ(generated->num_tokens, static_cast<int64_t>(tokens->size()));
  // An incomplete character at the end is not shown.
  EXPECT_EQ(tokenizer->Decode(*tokens).substr(0, streamed.size()), streamed);
  EXPECT_GE(streamed.size() + 3, tokenizer->Decode(*tokens).size());
  EXPECT_TRUE(GenerateText(model.get(), *tokenizer, "", options).ok());  // from bos
}

}  // namespace
}  // namespace wyvern
