#include "trainer/inference/eval.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/data/data_fixture.h"
#include "tests/trainer/tiny_model.h"

namespace wyvern {
namespace {

// Documents of the given lengths, each predicting its own next token.
Batch MakeBatch(const std::vector<int32_t>& lengths, int32_t first_token) {
  Batch batch;
  batch.cu_seqlens = {0};
  for (const int32_t length : lengths) {
    for (int32_t i = 0; i < length; ++i) {
      batch.tokens.push_back((first_token + i * 7) % 60);
      batch.targets.push_back(i + 1 < length ? (first_token + (i + 1) * 7) % 60 : kIgnoredTarget);
    }
    batch.cu_seqlens.push_back(static_cast<int32_t>(batch.num_tokens()));
    first_token += 11;
  }
  return batch;
}

// The same from the logits: -log softmax of each target, by position.
TEST(Evaluate, EqualsTheCrossEntropyOfTheLogits) {
  const auto model = TinyModel(60);
  const std::vector<Batch> batches = {MakeBatch({9, 1, 4}, 3), MakeBatch({6}, 20)};
  std::vector<double> sums(5, 0);
  std::vector<int64_t> counts(5, 0);
  for (const Batch& batch : batches) {
    Tape tape(false);
    const Tensor hidden = model
                              ->Hidden(tape, Tensor::FromVector(batch.tokens, {batch.num_tokens()}),
                                       Packing::FromDocuments(batch.cu_seqlens, Device::kCpu))
                              .value();
    const auto logits = model->Logits(hidden).ToVector<float>();
    for (int64_t t = 0; t < batch.num_tokens(); ++t) {
      if (batch.targets[t] < 0) continue;
      double total = 0;
      for (int v = 0; v < 60; ++v) total += std::exp(static_cast<double>(logits[t * 60 + v]));
      const auto next = std::upper_bound(batch.cu_seqlens.begin(), batch.cu_seqlens.end(), t);
      const int64_t position = t - *(next - 1);
      const int bucket = position == 0 ? 0 : 1 + std::ilogb(position);
      sums[bucket] += std::log(total) - logits[t * 60 + batch.targets[t]];
      ++counts[bucket];
    }
  }

  const EvalResult result = Evaluate(model.get(), batches);
  EXPECT_EQ(result.num_tokens, 20);
  EXPECT_EQ(result.num_targets, 8 + 0 + 3 + 5);
  ASSERT_EQ(result.positions.size(), 4u);  // 0, 1, 2 to 3, 4 to 7
  const std::vector<std::pair<int64_t, int64_t>> ranges = {{0, 1}, {1, 2}, {2, 4}, {4, 8}};
  double sum = 0;
  for (size_t b = 0; b < 4; ++b) {
    EXPECT_EQ(result.positions[b].begin, ranges[b].first);
    EXPECT_EQ(result.positions[b].end, ranges[b].second);
    EXPECT_EQ(result.positions[b].num_targets, counts[b]);
    EXPECT_NEAR(result.positions[b].loss, sums[b] / static_cast<double>(counts[b]), 1e-5);
    sum += sums[b];
  }
  EXPECT_NEAR(result.loss, sum / 16, 1e-5);
  EXPECT_NEAR(result.perplexity, std::exp(sum / 16), 1e-4 * result.perplexity);
  EXPECT_EQ(result.ToJson()["positions"].size(), 4u);
}

// Batches that several results share, against the evaluation of each one's batches alone.
TEST(Evaluate, SharedBatchesGiveTheResultsOfEachSetAlone) {
  const auto model = TinyModel(60);
  const std::vector<Batch> batches = {MakeBatch({9, 1, 4}, 3), MakeBatch({6}, 20),
                                      MakeBatch({5, 8}, 7)};
  const auto tokenizer = MakeByteTokenizer();  // of one byte a token
  const auto results =
      Evaluate(model.get(), {{batches[0], {0, 1}}, {batches[1], {0}}, {batches[2], {2, 1}}}, 4,
               TokenBytes(*tokenizer), /*parallel=*/nullptr);
  ASSERT_EQ(results.size(), 4u);
  const std::vector<std::vector<Batch>> sets = {
      {batches[0], batches[1]}, {batches[0], batches[2]}, {batches[2]}};
  for (size_t i = 0; i < 3; ++i) {
    const EvalResult alone = Evaluate(model.get(), sets[i]);
    EXPECT_EQ(results[i].loss, alone.loss);
    EXPECT_EQ(results[i].num_tokens, alone.num_tokens);
    EXPECT_EQ(results[i].num_bytes, alone.num_targets);
    EXPECT_NEAR(*results[i].BitsPerByte(), alone.loss / std::log(2.0), 1e-12);
    EXPECT_EQ(alone.BitsPerByte(), std::nullopt);
  }
  EXPECT_EQ(results[3].num_targets, 0);
  EXPECT_EQ(results[0].ToJson()["num_bytes"], results[0].num_targets);
}

class EvalSamplesTest : public DataTest {};

// Evenly over the store, all of it where it is smaller.
TEST_F(EvalSamplesTest, AreSpreadOverTheStore) {
  const auto store = TokenStore::Open(WriteStore("s.h5", {std::vector<int32_t>(20 * 5, 7)}));
  ASSERT_TRUE(store.ok()) << store.status();
  const SequentialSampler sampler(*store, 5, DocumentBoundary::kNone);
  EXPECT_EQ(EvalSamples(sampler, 1), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(EvalSamples(sampler, 2).size(), 16u);
  EXPECT_EQ(EvalSamples(sampler, 2)[8], 8);
  EXPECT_EQ(EvalSamples(sampler, 3).size(), 20u);
  EXPECT_EQ(EvalSamples(sampler, 0).back(), 19);
  EXPECT_EQ(EvalSamples(sampler, INT64_MAX).size(), 20u);
}

TEST(Evaluate, RepeatsToTheLastBitAndWithoutTargetsIsNotANumber) {
  const auto model = TinyModel(60);
  const std::vector<Batch> batches = {MakeBatch({40, 3}, 1)};
  EXPECT_EQ(Evaluate(model.get(), batches).loss, Evaluate(model.get(), batches).loss);
  EXPECT_TRUE(std::isnan(Evaluate(model.get(), {}).loss));
  const std::vector<Batch> none = {MakeBatch({1, 1}, 5)};
  EXPECT_TRUE(std::isnan(Evaluate(model.get(), none).loss));
}

}  // namespace
}  // namespace wyvern
