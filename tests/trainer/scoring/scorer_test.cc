#include "trainer/scoring/scorer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/runtime/device.h"
#include "tests/layers/tiny_models.h"

namespace wyvern {
namespace {

std::unique_ptr<Model> Make(const std::string& name, DType dtype) {
  auto model = Model::Create(TinyModelNamed(name), Device::kCpu, dtype, /*trainable=*/false);
  model->Initialize(3);
  return model;
}

// Contexts and continuations of many lengths. Several requests share a context, some of them far
// apart; the first token of a context may be all of it.
std::vector<ScoreRequest> Requests(int64_t vocab_size) {
  std::vector<ScoreRequest> requests;
  const auto add = [&](int64_t context, uint64_t context_seed, int64_t continuation) {
    requests.push_back({.context = TinyIds(context, vocab_size, context_seed),
                        .continuation = TinyIds(continuation, vocab_size, 100 + requests.size())});
  };
  for (const int64_t length : {1, 3, 2, 5}) add(17, 1, length);
  add(1, 2, 40);
  add(33, 3, 1);
  add(1, 4, 1);
  for (const int64_t length : {4, 4}) add(33, 3, length);
  add(6, 5, 0);
  add(70, 6, 9);
  add(17, 1, 8);
  add(2, 7, 3);
  return requests;
}

// The whole text in one forward, the softmax over its logits.
std::vector<double> LogLikelihoods(Model* model, const ScoreRequest& request) {
  std::vector<int32_t> ids = request.context;
  ids.insert(ids.end(), request.continuation.begin(), request.continuation.end());
  const auto size = static_cast<int32_t>(ids.size());
  Tape tape(/*recording=*/false);
  const Tensor hidden =
      model->Hidden(tape, IdTensor(ids), Packing::FromDocuments({0, size}, Device::kCpu)).value();
  const auto logits = model->Logits(hidden).To(DType::kFloat64).ToVector<double>();
  const size_t vocab_size = model->config().vocab_size;
  std::vector<double> result;
  for (size_t t = request.context.size(); t < ids.size(); ++t) {
    const double* row = logits.data() + (t - 1) * vocab_size;
    double sum = 0;
    for (size_t i = 0; i < vocab_size; ++i) sum += std::exp(row[i]);
    result.push_back(row[ids[t]] - std::log(sum));
  }
  return result;
}

class ScorerTest : public testing::TestWithParam<std::string> {};

TEST_P(ScorerTest, ScoresAreThoseOfAPlainForward) {
  const auto model = Make(GetParam(), DType::kFloat64);
  const std::vector<ScoreRequest> requests = Requests(model->config().vocab_size);
  Scorer scorer(model.get(), {.tokens_at_once = 50, .sequences_at_once = 3});
  const auto results = scorer.Score(requests);
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(results->size(), requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::vector<double> expected = LogLikelihoods(model.get(), requests[i]);
    const ScoreResult& result = (*results)[i];
    ASSERT_EQ(result.tokens.size(), expected.size()) << "request " << i;
    double sum = 0;
    for (size_t t = 0; t < expected.size(); ++t) {
      // Logits are rounded to fp32.
      EXPECT_NEAR(result.tokens[t].log_likelihood, expected[t], 2e-6)
          << "request " << i << ", token " << t;
      sum += result.tokens[t].log_likelihood;
    }
    EXPECT_EQ(result.log_likelihood, sum);
  }
}

bool Same(const ScoreResult& a, const ScoreResult& b) {
  return a.log_likelihood == b.log_likelihood && a.is_greedy == b.is_greedy &&
         std::equal(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end(),
                    [](const TokenScore& x, const TokenScore& y) {
                      return x.log_likelihood == y.log_likelihood &&
                             x.most_likely == y.most_likely && x.top == y.top;
                    });
}

TEST_P(ScorerTest, ResultsDependOnNoNeighbour) {
  const auto model = Make(GetParam(), DType::kFloat32);
  std::vector<ScoreRequest> requests = Requests(model->config().vocab_size);
  const auto score = [&](const std::vector<ScoreRequest>& of, const ScorerOptions& options) {
    return *Scorer(model.get(), options).Score(of);
  };
  const std::vector<ScoreResult> together = score(requests, {.top_k = 2});
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(Same(score({requests[i]}, {.top_k = 2})[0], together[i])) << "request " << i;
  }
  for (const ScorerOptions& options :
       {ScorerOptions{.tokens_at_once = 70, .sequences_at_once = 3, .top_k = 2},
        ScorerOptions{.tokens_at_once = 90, .sequences_at_once = 1, .top_k = 2},
        ScorerOptions{.tokens_at_once = 100, .top_k = 2, .pad = true}}) {
    const std::vector<ScoreResult> results = score(requests, options);
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_TRUE(Same(results[i], together[i]))
          << "request " << i << ", tokens at once " << options.tokens_at_once;
    }
  }
  std::reverse(requests.begin(), requests.end());
  const std::vector<ScoreResult> reversed = score(requests, {.top_k = 2});
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(Same(reversed[requests.size() - 1 - i], together[i])) << "request " << i;
  }
}

TEST_P(ScorerTest, LongTextsInPiecesDependOnNoNeighbour) {
  const auto model = Make(GetParam(), DType::kFloat32);
  const std::vector<ScoreRequest> requests = Requests(model->config().vocab_size);
  Scorer scorer(model.get(), {.tokens_at_once = 7, .sequences_at_once = 5});
  const std::vector<ScoreResult> together = *scorer.Score(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(Same((*scorer.Score({requests[i]}))[0], together[i])) << "request " << i;
  }
}

std::vector<GenerateRequest> Prompts(int64_t vocab_size) {
  std::vector<GenerateRequest> requests;
  for (const int64_t length : {5, 1, 23, 2, 40, 9}) {
    GenerateRequest request;
    request.prompt = TinyIds(length, vocab_size, 7 + requests.size());
    request.options.max_tokens = 4 + 3 * static_cast<int64_t>(requests.size());
    request.options.sampling.seed = 11 + requests.size();
    request.options.sampling.temperature = requests.size() % 2 == 0 ? 0 : 1;
    request.options.eos_id = requests.size() > 2 ? std::optional<int32_t>(5) : std::nullopt;
    requests.push_back(std::move(request));
  }
  return requests;
}

TEST_P(ScorerTest, GeneratesWhatGenerateGivesForEachAlone) {
  const auto model = Make(GetParam(), DType::kFloat64);
  const std::vector<GenerateRequest> requests = Prompts(model->config().vocab_size);
  for (const int64_t sequences : {1, 4, 64}) {
    Scorer scorer(model.get(),
                  {.tokens_at_once = 30, .sequences_at_once = sequences, .pad = sequences == 4});
    const auto results = scorer.Generate(requests);
    ASSERT_TRUE(results.ok()) << results.status();
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ((*results)[i].tokens,
                *Generate(model.get(), requests[i].prompt, requests[i].options))
          << "request " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ScorerTest, testing::ValuesIn(TinyModelNames()),
                         [](const auto& info) { return info.param; });

TEST(Scorer, ScoresOnAGpuAreThoseOfTheCpu) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  for (const std::string& name : TinyModelNames()) {
    SCOPED_TRACE(name);
    const auto on_cpu = Make(name, DType::kFloat32);
    const auto on_gpu =
        Model::Create(on_cpu->config(), Device::kCuda, DType::kFloat32, /*trainable=*/false);
    on_gpu->Initialize(3);
    const std::vector<ScoreRequest> requests = Requests(on_cpu->config().vocab_size);
    const auto expected = *Scorer(on_cpu.get()).Score(requests);
    for (const int64_t top_k : {0, 2}) {
      Scorer scorer(on_gpu.get(), {.tokens_at_once = 128, .sequences_at_once = 5, .top_k = top_k});
      const auto results = scorer.Score(requests);
      ASSERT_TRUE(results.ok()) << results.status();
      for (size_t i = 0; i < requests.size(); ++i) {
        EXPECT_EQ((*results)[i].is_greedy, expected[i].is_greedy) << "request " << i;
        EXPECT_NEAR((*results)[i].log_likelihood, expected[i].log_likelihood, 1e-3)
            << "request " << i;
      }
    }
    const std::vector<GenerateRequest> prompts = Prompts(on_cpu->config().vocab_size);
    EXPECT_TRUE(Scorer(on_gpu.get(), {.sequences_at_once = 4}).Generate(prompts).ok());
  }
}

TEST(Scorer, ReadsAContextOnce) {
  const auto model = Make("hybrid", DType::kFloat32);
  const std::vector<int32_t> context = TinyIds(100, 13, 1);
  std::vector<ScoreRequest> requests;
  for (uint64_t i = 0; i < 4; ++i) requests.push_back({context, TinyIds(5, 13, 2 + i)});
  Scorer scorer(model.get());
  ASSERT_TRUE(scorer.Score(requests).ok());
  // The context but its last token; four times this one and all but the last of a continuation.
  EXPECT_EQ(scorer.counts().tokens, 99 + 4 * 5);
  EXPECT_EQ(scorer.counts().forwards, 2);

  Scorer generator(model.get());
  GenerateRequest ask{.prompt = context, .options = {.max_tokens = 3}};
  std::vector<GenerateRequest> prompts;
  for (uint64_t seed = 1; seed < 5; ++seed) {
    ask.options.sampling.seed = seed;
    prompts.push_back(ask);
  }
  ASSERT_TRUE(generator.Generate(prompts).ok());
  EXPECT_EQ(generator.counts().tokens, 99 + 4 * 3);
  EXPECT_EQ(generator.counts().forwards, 1 + 3);
}

TEST(Scorer, ReadsManyTextsAtOnce) {
  const auto model = Make("hybrid", DType::kFloat32);
  std::vector<ScoreRequest> requests;
  for (uint64_t i = 0; i < 10; ++i) requests.push_back({TinyIds(11, 13, i), TinyIds(4, 13, i)});
  Scorer scorer(model.get(), {.tokens_at_once = 50});
  ASSERT_TRUE(scorer.Score(requests).ok());
  EXPECT_EQ(scorer.counts().tokens, 10 * (10 + 4));
  EXPECT_EQ(scorer.counts().forwards, 2 + 1);
}

TEST(Scorer, TellsGreedyTextAndAlternatives) {
  const auto model = Make("hybrid", DType::kFloat32);
  GenerateRequest ask{.prompt = {1, 2, 3}, .options = {.max_tokens = 6}, .want_scores = true};
  ask.options.sampling.temperature = 0;
  Scorer scorer(model.get(), {.top_k = 3});
  const GenerateResult greedy = (*scorer.Generate({ask}))[0];
  ASSERT_EQ(greedy.tokens.size(), 6u);
  ASSERT_EQ(greedy.scores.size(), 6u);
  std::vector<int32_t> other = greedy.tokens;
  other[4] = (other[4] + 1) % 13;
  const auto results = *scorer.Score({{{1, 2, 3}, greedy.tokens}, {{1, 2, 3}, other}});
  EXPECT_TRUE(results[0].is_greedy);
  EXPECT_FALSE(results[1].is_greedy);
  EXPECT_GT(results[0].log_likelihood, results[1].log_likelihood);
  for (size_t t = 0; t < 6; ++t) {
    const TokenScore& score = results[0].tokens[t];
    EXPECT_EQ(score.most_likely, greedy.tokens[t]);
    ASSERT_EQ(score.top.size(), 3u);
    EXPECT_EQ(score.top[0], std::make_pair(greedy.tokens[t], score.log_likelihood));
    EXPECT_GE(score.top[1].second, score.top[2].second);
    // Read in other pieces.
    EXPECT_NEAR(greedy.scores[t].log_likelihood, score.log_likelihood, 1e-5);
    EXPECT_EQ(greedy.scores[t].top.size(), 3u);
  }
}

TEST(Scorer, SaysWhyATextEnded) {
  const auto model = Make("hybrid", DType::kFloat32);
  GenerateRequest ask{.prompt = {1, 2, 3}, .options = {.max_tokens = 12}};
  ask.options.sampling.temperature = 0;
  Scorer scorer(model.get());
  const GenerateResult whole = (*scorer.Generate({ask}))[0];
  EXPECT_EQ(whole.finish, FinishReason::kMaxTokens);
  ASSERT_EQ(whole.tokens.size(), 12u);
  GenerateRequest eos = ask;
  eos.options.eos_id = whole.tokens[4];
  GenerateRequest stopped = ask;
  std::vector<int32_t> seen;
  stopped.on_token = [&](int32_t token) {
    seen.push_back(token);
    return seen.size() < 3;
  };
  GenerateRequest none = ask;
  none.options.max_tokens = 0;
  const auto results = *scorer.Generate({eos, ask, stopped, none});
  EXPECT_EQ(results[0].finish, FinishReason::kEos);
  const auto end = std::find(whole.tokens.begin(), whole.tokens.end(), whole.tokens[4]);
  EXPECT_EQ(results[0].tokens, std::vector<int32_t>(whole.tokens.begin(), end));
  EXPECT_EQ(results[1].tokens, whole.tokens);
  EXPECT_EQ(results[2].finish, FinishReason::kStopped);
  EXPECT_EQ(results[2].tokens, seen);
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_EQ(results[3].finish, FinishReason::kMaxTokens);
  EXPECT_TRUE(results[3].tokens.empty());
}

TEST(Scorer, RefusesBadRequestsByTheirIndex) {
  const auto model = Make("hybrid", DType::kFloat32);
  Scorer scorer(model.get());
  const auto refusal = [&](const ScoreRequest& bad) {
    const absl::Status status = scorer.Score({{{1}, {2}}, bad}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(std::string(status.message()).substr(0, 11), "request 1: ") << status;
  };
  refusal({{}, {1}});
  refusal({{1, 13}, {1}});
  refusal({{1}, {-1}});
  GenerateRequest good{.prompt = {1}, .options = {.max_tokens = 1}}, bad = good;
  bad.prompt = {};
  EXPECT_TRUE(absl::IsInvalidArgument(scorer.Generate({good, bad}).status()));
  bad.prompt = {13};
  EXPECT_TRUE(absl::IsInvalidArgument(scorer.Generate({good, bad}).status()));
  bad.prompt = {1};
  bad.options.sampling.top_p = 2;
  EXPECT_TRUE(absl::IsInvalidArgument(scorer.Generate({good, bad}).status()));
}

TEST(Scorer, NamesARequestWhoseLogitsAreNotNumbers) {
  const auto model = Make("attention", DType::kFloat32);
  float* embedding = model->parameters()[0]->value.data<float>();
  embedding[7 * model->config().hidden_size] = std::numeric_limits<float>::quiet_NaN();
  Scorer scorer(model.get());
  const absl::Status status = scorer.Score({{{1}, {2, 3}}, {{1, 7}, {2}}}).status();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_EQ(std::string(status.message()).substr(0, 11), "request 1: ") << status;
}

TEST(ScoreToken, IsTheLogarithmOfTheSoftmax) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> logits = {0, 1000, 1000 + std::log(3.0f), kNan, 1000};
  const TokenScore score = ScoreToken(logits, 1, 9);
  EXPECT_NEAR(score.log_likelihood, std::log(0.2), 1e-4);
  EXPECT_EQ(score.most_likely, 2);
  ASSERT_EQ(score.top.size(), 5u);
  EXPECT_EQ(score.top[1].first, 1);
  EXPECT_EQ(score.top[2].first, 4);
  EXPECT_EQ(score.top[3].first, 0);
  EXPECT_TRUE(std::isinf(score.top[4].second));
  EXPECT_TRUE(ScoreToken(logits, 1, 0).top.empty());
}

}  // namespace
}  // namespace wyvern
