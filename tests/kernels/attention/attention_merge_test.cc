// Attention over some keys at a time, put together, against attention over all of them.
#include "kernels/attention/attention_merge.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/runtime/random.h"

namespace wyvern {
namespace {

constexpr int64_t kHeads = 3, kDim = 8, kValueDim = 5;

std::vector<double> Draw(int64_t size, const char* name) {
  const Random random(1, name);
  std::vector<double> x(size);
  for (int64_t i = 0; i < size; ++i) x[i] = 4 * random.Uniform(i) - 2;
  return x;
}

struct Result {
  std::vector<double> o, lse;  // [T, H, DV], [T, H]
};

// The last `queries` of `keys` tokens, causally.
Result Causal(const std::vector<double>& q, const double* k, const double* v, int64_t queries,
              int64_t keys) {
  const int32_t cu_q[] = {0, static_cast<int32_t>(queries)};
  const int32_t cu_k[] = {0, static_cast<int32_t>(keys)};
  Result r{std::vector<double>(queries * kHeads * kValueDim),
           std::vector<double>(queries * kHeads)};
  AttentionFwd(CpuTag{}, AttentionFwdParams<double>{.shape = {.num_docs = 1,
                                                              .num_queries = queries,
                                                              .num_keys = keys,
                                                              .num_heads = kHeads,
                                                              .num_kv_heads = kHeads,
                                                              .key_dim = kDim,
                                                              .value_dim = kValueDim,
                                                              .scale = 0.5,
                                                              .q_stride = kHeads * kDim,
                                                              .k_stride = kHeads * kDim,
                                                              .v_stride = kHeads * kValueDim,
                                                              .cu_seqlens_q = cu_q,
                                                              .cu_seqlens_k = cu_k},
                                                    .q = q.data(),
                                                    .k = k,
                                                    .v = v,
                                                    .o = r.o.data(),
                                                    .lse = r.lse.data()});
  return r;
}

// All queries see all keys; lse is [H, T].
Result Unmasked(const std::vector<double>& q, const double* k, const double* v, int64_t queries,
                int64_t keys) {
  Result r{std::vector<double>(queries * kHeads * kValueDim),
           std::vector<double>(queries * kHeads)};
  for (int64_t t = 0; t < queries; ++t) {
    for (int64_t h = 0; h < kHeads; ++h) {
      double total = 0;
      double* o = &r.o[(t * kHeads + h) * kValueDim];
      for (int64_t j = 0; j < keys; ++j) {
        double score = 0;
        for (int64_t d = 0; d < kDim; ++d) {
          score += q[(t * kHeads + h) * kDim + d] * k[(j * kHeads + h) * kDim + d];
        }
        const double weight = std::exp(0.5 * score);
        total += weight;
        for (int64_t d = 0; d < kValueDim; ++d)
          o[d] += weight * v[(j * kHeads + h) * kValueDim + d];
      }
      for (int64_t d = 0; d < kValueDim; ++d) o[d] /= total;
      r.lse[h * queries + t] = std::log(total);
    }
  }
  return r;
}

TEST(AttentionMerge, RunsOfKeysTogetherEqualAllKeysAtOnce) {
  const int64_t T = 6, runs[] = {12, 6, 1}, before = 19, Tk = before + T;
  const std::vector<double> q = Draw(T * kHeads * kDim, "q"), k = Draw(Tk * kHeads * kDim, "k"),
                            v = Draw(Tk * kHeads * kValueDim, "v");
  const Result all = Causal(q, k.data(), v.data(), T, Tk);
  Result merged = Causal(q, &k[before * kHeads * kDim], &v[before * kHeads * kValueDim], T, T);
  int64_t key = 0;
  for (const int64_t run : runs) {
    const Result part = Unmasked(q, &k[key * kHeads * kDim], &v[key * kHeads * kValueDim], T, run);
    AttentionMerge(CpuTag{}, AttentionMergeParams<double>{.num_queries = T,
                                                          .num_heads = kHeads,
                                                          .value_dim = kValueDim,
                                                          .strides = {1, kHeads},
                                                          .added_strides = {T, 1},
                                                          .added = part.o.data(),
                                                          .added_lse = part.lse.data(),
                                                          .o = merged.o.data(),
                                                          .lse = merged.lse.data()});
    key += run;
  }
  for (size_t i = 0; i < all.o.size(); ++i) EXPECT_NEAR(merged.o[i], all.o[i], 1e-13);
  for (size_t i = 0; i < all.lse.size(); ++i) EXPECT_NEAR(merged.lse[i], all.lse[i], 1e-13);
}

// A part whose scores are far above the other's takes all, without an overflow.
TEST(AttentionMerge, APartThatIsFarAboveTakesAll) {
  double o[] = {1, 2}, lse = -1000;
  const double added[] = {5, 6}, added_lse = 900;
  AttentionMerge(CpuTag{}, AttentionMergeParams<double>{.num_queries = 1,
                                                        .num_heads = 1,
                                                        .value_dim = 2,
                                                        .strides = {1, 1},
                                                        .added_strides = {1, 1},
                                                        .added = added,
                                                        .added_lse = &added_lse,
                                                        .o = o,
                                                        .lse = &lse});
  EXPECT_EQ(o[0], 5);
  EXPECT_EQ(o[1], 6);
  EXPECT_EQ(lse, 900);
}

}  // namespace
}  // namespace wyvern
