#include "data/sampling/whole_documents.h"

#include <algorithm>
#include <set>

#include "data/sampling/sampler.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

using WholeDocumentsTest = DataTest;

std::vector<std::vector<int64_t>> SamplesOf(const WholeDocuments& documents) {
  std::vector<std::vector<int64_t>> samples;
  for (int64_t i = 0; i < documents.num_samples(); ++i) {
    const auto of_sample = documents.DocumentsOf(i);
    samples.emplace_back(of_sample.begin(), of_sample.end());
  }
  return samples;
}

TEST_F(WholeDocumentsTest, TheLongestComeFirstAndFillTheFullestSample) {
  const std::string path = WriteStore("a.h5", CountingDocuments({3, 9, 4, 0, 6, 1, 4, 25, 2}));
  const WholeDocuments documents(*TokenStore::Open(path), 10);
  // Lengths 25 (cut to 10), 9, 6, 4, 4, 3, 2. The first 4 joins the 6, the second gets a sample.
  EXPECT_EQ(SamplesOf(documents), (std::vector<std::vector<int64_t>>{{7}, {1}, {4, 2}, {6, 0, 8}}));
  EXPECT_EQ(documents.num_documents(), 7);
  EXPECT_EQ(documents.num_cut(), 1);
  EXPECT_DOUBLE_EQ(documents.Fill(), (10 + 9 + 10 + 9) / 40.0);
}

TEST_F(WholeDocumentsTest, ManyDocumentsFillTheirSamplesAndNoneIsLost) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 3000; ++i) lengths.push_back(2 + i * 7919 % 200);
  const std::string path = WriteStore("a.h5", CountingDocuments(lengths));
  const WholeDocuments documents(*TokenStore::Open(path), 256);
  std::set<int64_t> seen;
  for (const std::vector<int64_t>& sample : SamplesOf(documents)) {
    int64_t tokens = 0;
    for (const int64_t document : sample) {
      EXPECT_TRUE(seen.insert(document).second) << document;
      tokens += lengths[static_cast<size_t>(document)];
    }
    ASSERT_LE(tokens, 256);
  }
  EXPECT_EQ(seen.size(), lengths.size());
  EXPECT_GT(documents.Fill(), 0.99);
}

TEST_F(WholeDocumentsTest, ASampleHoldsItsDocumentsAndPaddingThatPredictsNothing) {
  const std::string path = WriteStore("a.h5", CountingDocuments({4, 3}, 10));
  const WholeDocuments documents(*TokenStore::Open(path), 9);
  const int32_t none = kIgnoredTarget, eos = *(*TokenStore::Open(path))->info().eos_id;
  Batch batch;
  ASSERT_TRUE(documents.Append(0, DocumentBoundary::kReset, &batch).ok());
  EXPECT_EQ(batch.tokens, (std::vector<int32_t>{10, 11, 12, 13, 14, 15, 16, eos, eos}));
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{11, 12, 13, none, 15, 16, none, none, none}));
  EXPECT_EQ(batch.cu_seqlens, (std::vector<int32_t>{0, 4, 7, 9}));
  ASSERT_TRUE(documents.Append(0, DocumentBoundary::kNone, &batch).ok());
  EXPECT_EQ(batch.cu_seqlens, (std::vector<int32_t>{0, 4, 7, 9, 16, 18}));
  EXPECT_TRUE(
      std::equal(batch.targets.begin(), batch.targets.begin() + 9, batch.targets.begin() + 9))
      << "targets depend on the boundary";
}

TEST_F(WholeDocumentsTest, OnlyLearntTokensAreTargets) {
  const std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
  auto writer = *TokenStoreWriter::CreateForChat(Path("chat.h5"), *tokenizer);
  ASSERT_TRUE(writer->Append({1, 2, 3, 4}, {0, 0, 1, 1}).ok());
  ASSERT_TRUE(writer->EndDocument(0).ok());
  ASSERT_TRUE(writer->Append({5, 6, 7}, {1, 0, 1}).ok());
  ASSERT_TRUE(writer->EndDocument(0).ok());
  ASSERT_TRUE(writer->Finish({"memory"}).ok());
  const WholeDocuments documents(*TokenStore::Open(Path("chat.h5")), 8);
  Batch batch;
  ASSERT_TRUE(documents.Append(0, DocumentBoundary::kReset, &batch).ok());
  const int32_t none = kIgnoredTarget;
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{none, 3, 4, none, none, 7, none, none}));
  EXPECT_EQ(batch.num_targets(), 3);
}

TEST_F(WholeDocumentsTest, AnEpochOfTheSamplerHoldsEveryDocumentOnce) {
  const std::string path = WriteStore("a.h5", CountingDocuments({5, 7, 2, 9, 3, 8, 6, 4, 2, 7}));
  const auto store = *TokenStore::Open(path);
  const auto sampler =
      *Sampler::Make({{.store = store, .packing = SamplePacking::kWhole}}, {.seq_len = 10});
  const int64_t n = sampler->num_samples(0);
  EXPECT_EQ(n, WholeDocuments(store, 10).num_samples());
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    const Batch batch = *sampler->Sample(epoch * n, n);
    EXPECT_EQ(batch.num_tokens(), n * 10);
    EXPECT_EQ(batch.num_targets(), 53 - 10) << "each document predicts all but its first token";
    EXPECT_EQ(batch.sources.size(), batch.tokens.size());
  }
  EXPECT_EQ(sampler->Positions(3), (std::vector<int64_t>{30}));
  const auto longer = *sampler->With({.seq_len = 53});
  EXPECT_EQ(longer->num_samples(0), 1);
}

TEST_F(WholeDocumentsTest, TheManifestNamesThePacking) {
  const auto store = *TokenStore::Open(WriteStore("a.h5", CountingDocuments({5, 7, 20})));
  const auto split = *Sampler::Make({{.store = store}}, {.seq_len = 10});
  const auto whole =
      *Sampler::Make({{.store = store, .packing = SamplePacking::kWhole}}, {.seq_len = 10});
  EXPECT_EQ(split->Manifest().find("packing"), std::string::npos) << "as before";
  EXPECT_EQ(ManifestDifference(whole->Manifest(), whole->Manifest()), "");
  EXPECT_NE(ManifestDifference(whole->Manifest(), split->Manifest()), "");
}

TEST_F(WholeDocumentsTest, AStoreWithoutAPairOfTokensIsRefused) {
  const auto store = *TokenStore::Open(WriteStore("a.h5", CountingDocuments({1, 1, 0, 1})));
  const auto sampler =
      Sampler::Make({{.store = store, .packing = SamplePacking::kWhole}}, {.seq_len = 2});
  EXPECT_NE(sampler.status().message().find("no document has two tokens"), std::string::npos)
      << sampler.status();
}

TEST_F(WholeDocumentsTest, ValidationReadsTheSameSamplesInOrder) {
  const auto store = *TokenStore::Open(WriteStore("a.h5", CountingDocuments({5, 7, 2, 9})));
  const SequentialSampler sampler(store, 10, DocumentBoundary::kReset, SamplePacking::kWhole);
  ASSERT_EQ(sampler.num_samples(), 3);
  const Batch all = *sampler.Sample(0, 3);
  EXPECT_EQ(all.cu_seqlens, (std::vector<int32_t>{0, 9, 10, 17, 19, 20, 25, 30}));
  EXPECT_EQ(all.num_targets(), 23 - 4);
}

}  // namespace
}  // namespace wyvern
