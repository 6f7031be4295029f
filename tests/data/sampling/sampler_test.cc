#include "data/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/match.h"
#include "data/sampling/prefetcher.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class SamplerTest : public DataTest {
 protected:
  struct Source {
    std::string path;
    double weight = 0;
  };
  // A run's mixture of these stores, in their order.
  static absl::StatusOr<std::unique_ptr<Sampler>> Make(const std::vector<Source>& sources,
                                                       const SamplerOptions& options) {
    std::vector<MixtureEntry> entries;
    for (const Source& source : sources) {
      auto store = TokenStore::Open(source.path);
      EXPECT_TRUE(store.ok()) << store.status();
      entries.push_back({.store = *std::move(store),
                         .weight = source.weight,
                         .source = static_cast<int64_t>(entries.size())});
    }
    return Sampler::Make(std::move(entries), options);
  }
  static std::unique_ptr<Sampler> Open(const std::vector<Source>& sources,
                                       const SamplerOptions& options) {
    auto sampler = Make(sources, options);
    EXPECT_TRUE(sampler.ok()) << sampler.status();
    return std::move(sampler).value();
  }
};

TEST(PermuteIndex, IsAPermutationThatDependsOnItsKey) {
  for (const uint64_t size : {1, 2, 3, 4, 5, 16, 17, 1000, 1025}) {
    std::set<uint64_t> seen;
    int fixed = 0;
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t p = PermuteIndex(7, 1, size, i);
      ASSERT_LT(p, size);
      seen.insert(p);
      fixed += p == PermuteIndex(7, 2, size, i) ? 1 : 0;
    }
    EXPECT_EQ(seen.size(), size);
    if (size >= 1000) {
      EXPECT_LT(fixed, 20) << "two streams give nearly the same order";
    }
  }
}

TEST_F(SamplerTest, AnEpochHoldsEverySampleOnce) {
  const std::string path = WriteStore("a.h5", CountingDocuments({500, 503}));
  const auto sampler = Open({{path}}, {.seq_len = 10, .seed = 3});
  const int64_t n = sampler->num_samples(0);
  ASSERT_EQ(n, 100);
  std::vector<int64_t> orders[2];
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    for (int64_t i = 0; i < n; ++i) {
      const Sampler::SampleId id = sampler->At(epoch * n + i);
      EXPECT_EQ(id.epoch, epoch);
      orders[epoch].push_back(id.sample);
      const Batch batch = *sampler->Sample(epoch * n + i, 1);
      ASSERT_EQ(batch.num_tokens(), 10);
      EXPECT_EQ(batch.num_targets(), 10);
      EXPECT_EQ(batch.cu_seqlens, (std::vector<int32_t>{0, 10}));
      for (int64_t t = 0; t < 10; ++t) {
        ASSERT_EQ(batch.tokens[t], (id.sample * 10 + t) % 251);
        ASSERT_EQ(batch.targets[t], (id.sample * 10 + t + 1) % 251);
      }
    }
  }
  EXPECT_NE(orders[0], orders[1]) << "the second epoch repeats the order of the first";
  for (auto& order : orders) {
    EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(order[i], i);
  }
}

TEST_F(SamplerTest, SeekingEqualsRunningAcrossFilesAndEpochs) {
  const std::string a = WriteStore("a.h5", CountingDocuments({301}));
  const std::string b = WriteStore("b.h5", CountingDocuments({150, 60}, 100));
  const std::vector<Source> entries = {{a, 2}, {b, 1}};
  for (const DocumentBoundary boundary : {DocumentBoundary::kNone, DocumentBoundary::kReset}) {
    const SamplerOptions options = {.seq_len = 16, .seed = 11, .boundary = boundary};
    const auto whole = Open(entries, options);
    const Batch run = *whole->Sample(0, 120);
    std::set<int64_t> stores, epochs;
    for (int64_t n = 0; n < 120; n += 8) {
      const auto resumed = Open(entries, options);  // a new process
      const Batch part = *resumed->Sample(n, 8);
      ASSERT_TRUE(std::equal(part.tokens.begin(), part.tokens.end(), run.tokens.begin() + n * 16));
      ASSERT_TRUE(
          std::equal(part.targets.begin(), part.targets.end(), run.targets.begin() + n * 16));
      stores.insert(resumed->At(n).entry);
      epochs.insert(resumed->At(n).epoch);
    }
    EXPECT_EQ(stores.size(), 2u);
    EXPECT_GT(epochs.size(), 2u);
    const auto other = Open(entries, {.seq_len = 16, .seed = 12, .boundary = boundary});
    EXPECT_NE(other->Sample(0, 120)->tokens, run.tokens);
  }
}

TEST_F(SamplerTest, ResetStopsAtDocuments) {
  // Documents [0, 4), [4, 4), [4, 10), [10, 23): samples of 8 are [0, 8), [8, 16); 22 is the rest.
  const std::string path = WriteStore("a.h5", CountingDocuments({4, 0, 6, 13}));
  const SequentialSampler sampler(*TokenStore::Open(path), 8, DocumentBoundary::kReset);
  EXPECT_EQ(sampler.num_samples(), 3);
  const Batch batch = *sampler.Sample(0, 3);
  EXPECT_EQ(batch.num_tokens(), 22);
  EXPECT_EQ(batch.cu_seqlens, (std::vector<int32_t>{0, 4, 8, 10, 16, 22}));
  for (int32_t t = 0; t < 22; ++t) {
    EXPECT_EQ(batch.tokens[t], t);
    EXPECT_EQ(batch.targets[t], t == 3 || t == 9 ? kIgnoredTarget : t + 1) << t;
  }
  EXPECT_EQ(batch.num_targets(), 20);
}

TEST_F(SamplerTest, ADocumentThatEndsWithItsSamplePredictsNothing) {
  const std::string path = WriteStore("a.h5", CountingDocuments({8, 9}));
  const SequentialSampler sampler(*TokenStore::Open(path), 8, DocumentBoundary::kReset);
  const Batch batch = *sampler.Sample(0, 1);
  EXPECT_EQ(batch.cu_seqlens, (std::vector<int32_t>{0, 8}));
  EXPECT_EQ(batch.targets[7], kIgnoredTarget);
  EXPECT_EQ(batch.num_targets(), 7);
}

TEST_F(SamplerTest, SequentialReadsEveryTokenOnce) {
  const std::string path = WriteStore("a.h5", CountingDocuments({40, 61}));
  for (const int64_t seq_len : {7, 10, 100, 500}) {
    const SequentialSampler sampler(*TokenStore::Open(path), seq_len, DocumentBoundary::kNone);
    std::vector<int32_t> targets;
    for (int64_t sample = 0; sample < sampler.num_samples(); sample += 3) {
      const Batch batch = *sampler.Sample(sample, 3);
      EXPECT_EQ(batch.num_targets(), batch.num_tokens());
      targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
    }
    ASSERT_EQ(targets.size(), 100u);
    for (int32_t t = 0; t < 100; ++t) ASSERT_EQ(targets[t], t + 1);
  }
  const std::string tiny = WriteStore("tiny.h5", CountingDocuments({1}));
  EXPECT_EQ(SequentialSampler(*TokenStore::Open(tiny), 4, DocumentBoundary::kNone).num_samples(),
            0);
}

TEST_F(SamplerTest, RefusesWhatItCannotServe) {
  const std::string path = WriteStore("a.h5", CountingDocuments({10}));
  const auto short_store = Make({{path}}, {.seq_len = 10});
  EXPECT_TRUE(absl::StrContains(short_store.status().message(), "needs 11"))
      << short_store.status();
  const auto fits = Make({{path}}, {.seq_len = 9});
  ASSERT_TRUE(fits.ok()) << fits.status();
  EXPECT_TRUE(absl::StrContains((*fits)->With({.seq_len = 10}).status().message(), "needs 11"));
  EXPECT_FALSE(Sampler::Make({}, {}).ok());
  EXPECT_FALSE(Make({{path, 1}, {path, 0}}, {.seq_len = 4}).ok());
  EXPECT_FALSE(Make({{path, -1}}, {.seq_len = 4}).ok());
  const auto store = *TokenStore::Open(path);
  EXPECT_TRUE(Sampler::Make({{.store = store, .source = 65535}}, {.seq_len = 4}).ok());
  EXPECT_FALSE(Sampler::Make({{.store = store, .source = 65536}}, {.seq_len = 4}).ok());
}

// The samples of a store are one sequence, whichever mixtures of a run draw them, in which order.
TEST_F(SamplerTest, AMixtureContinuesItsStoresWhereAnotherLeftThem) {
  const auto a = *TokenStore::Open(WriteStore("a.h5", CountingDocuments({401})));
  const auto b = *TokenStore::Open(WriteStore("b.h5", CountingDocuments({241}, 100)));
  const SamplerOptions options = {.seq_len = 8, .seed = 4};
  const auto make = [&](std::vector<MixtureEntry> entries) {
    return Sampler::Make(std::move(entries), options).value();
  };
  const auto only_a = make({{.store = a, .source = 0}}), only_b = make({{.store = b, .source = 1}});
  const auto first = make({{a, 3, 0}, {b, 1, 1}});
  const auto read = first->Positions(37);
  EXPECT_EQ(read[0] + read[1], 37 * 8);
  const auto second = make({{b, 5, 1, read[1]}, {a, 2, 0, read[0]}});
  int64_t next_a = 0, next_b = 0;
  for (int64_t n = 0; n < 37 + 90; ++n) {
    const Sampler& mixture = n < 37 ? *first : *second;
    const int64_t in_mixture = n < 37 ? n : n - 37;
    const bool of_a = mixture.entries()[mixture.At(in_mixture).entry].store == a;
    const Batch expected = of_a ? *only_a->Sample(next_a++, 1) : *only_b->Sample(next_b++, 1);
    ASSERT_EQ(mixture.Sample(in_mixture, 1)->tokens, expected.tokens) << n;
  }
  EXPECT_EQ(second->Positions(90), (std::vector<int64_t>{next_b * 8, next_a * 8}));
  // Other lengths begin behind the tokens that were read.
  const auto longer = second->With({.seq_len = 12, .seed = 4}).value();
  EXPECT_EQ(longer->Positions(0)[1], (read[0] + 11) / 12 * 12);
}

TEST(MixtureSchedule, EveryPrefixFollowsTheWeightsWithinOneDraw) {
  const std::vector<std::vector<double>> mixtures = {
      {1}, {1, 1}, {3, 1}, {0.7, 0.2, 0.1}, {5, 1, 1, 1, 1, 1}, {1000, 1, 30, 7.5}};
  for (const std::vector<double>& weights : mixtures) {
    const auto schedule = MixtureSchedule::Make(weights);
    ASSERT_TRUE(schedule.ok());
    double total = 0;
    for (const double weight : weights) total += weight;
    std::vector<int64_t> draws(weights.size(), 0);
    for (int64_t n = 0; n < 20000; ++n) {
      const MixtureSchedule::Draw draw = schedule->At(n);
      if (n % 500 == 0) {
        for (size_t i = 0; i < weights.size(); ++i) {
          ASSERT_EQ(schedule->Count(static_cast<int32_t>(i), n), draws[i]) << n;
        }
      }
      ASSERT_EQ(draw.index, draws[draw.source]++);
      for (size_t i = 0; i < weights.size(); ++i) {
        const double exact = static_cast<double>(n + 1) * weights[i] / total;
        ASSERT_LT(std::abs(static_cast<double>(draws[i]) - exact), 1.02) << n << " " << i;
      }
    }
    // Across the period of the table the indices continue.
    const int64_t period = int64_t{1} << 20;
    std::vector<int64_t> last(weights.size(), -1);
    for (int64_t n = period - 5000; n < period + 5000; ++n) {
      const MixtureSchedule::Draw draw = schedule->At(n);
      if (last[draw.source] >= 0) {
        ASSERT_EQ(draw.index, last[draw.source] + 1);
      }
      ASSERT_EQ(schedule->Count(draw.source, n), draw.index);
      last[draw.source] = draw.index;
    }
  }
  EXPECT_FALSE(MixtureSchedule::Make({1, 1e-9}).ok());
}

TEST_F(SamplerTest, PrefetchedBatchesAreTheSampledOnes) {
  const std::string path = WriteStore("a.h5", CountingDocuments({1000}));
  const auto sampler = Open({{path}}, {.seq_len = 8, .seed = 5});
  Prefetcher prefetcher([&](int64_t consumed) { return sampler->Sample(consumed, 4); }, 12, 4);
  for (int64_t consumed = 12; consumed < 12 + 4 * 40; consumed += 4) {
    const auto batch = prefetcher.Next();
    ASSERT_TRUE(batch.ok());
    EXPECT_EQ(batch->tokens, sampler->Sample(consumed, 4)->tokens);
  }
}

TEST_F(SamplerTest, PrefetcherHandsOnAnErrorAfterTheBatchesBeforeIt) {
  int made = 0;
  Prefetcher prefetcher(
      [&](int64_t) -> absl::StatusOr<Batch> {
        if (made++ == 2) return absl::DataLossError("damaged");
        return Batch{};
      },
      0, 1);
  EXPECT_TRUE(prefetcher.Next().ok());
  EXPECT_TRUE(prefetcher.Next().ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(prefetcher.Next().status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(SamplerTest, AnExceptionWhilePrefetchingIsAnError) {
  Prefetcher prefetcher([](int64_t) -> absl::StatusOr<Batch> { throw std::bad_alloc(); }, 0, 1);
  const absl::Status status = prefetcher.Next().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "out of memory");
}

TEST(ManifestDifference, IsOfContentAndNotOfPlace) {
  const std::string here = "/a b/train.h5 00ff weight 0.5\n/c/train.h5 11ee weight 0.5\n";
  const std::string moved = "train.h5 00ff weight 0.5\n../d/train.h5 11ee weight 0.5\n";
  EXPECT_EQ(ManifestDifference(here, here), "");
  EXPECT_EQ(ManifestDifference(here, moved), "");
  for (const std::string& other :
       {std::string("/a b/train.h5 00fe weight 0.5\n/c/train.h5 11ee weight 0.5\n"),   // content
        std::string("/a b/train.h5 00ff weight 0.25\n/c/train.h5 11ee weight 0.5\n"),  // weight
        std::string("/c/train.h5 11ee weight 0.5\n/a b/train.h5 00ff weight 0.5\n"),   // order
        std::string("/a b/train.h5 00ff weight 0.5\n"), std::string()}) {
    EXPECT_NE(ManifestDifference(here, other), "") << other;
  }
}

}  // namespace
}  // namespace wyvern
