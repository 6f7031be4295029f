// The choice of the delta rule's kernels, on GPUs that this machine need not have.
#include "kernels/delta_rule/plan.h"

#include <gtest/gtest.h>

#include <vector>

namespace wyvern {
namespace {

// cu_seqlens of documents of these lengths.
std::vector<int32_t> Offsets(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> offsets = {0};
  for (const int32_t length : lengths) offsets.push_back(offsets.back() + length);
  return offsets;
}

DeltaRuleDesc Desc(const std::vector<int32_t>& offsets) {
  return {.num_docs = static_cast<int64_t>(offsets.size()) - 1,
          .num_tokens = offsets.back(),
          .cu_seqlens = offsets.data(),
          .num_heads = 16,
          .num_value_heads = 16,
          .key_dim = 128,
          .value_dim = 128,
          .gradient = true};
}

TEST(DeltaRulePlan, Sm90ServesItsSizesOnHopperAlone) {
  const std::vector<int32_t> offsets = Offsets({2048, 100});
  const DeltaRuleDesc served = Desc(offsets);
  GpuInfo ampere = MetaGpu(), blackwell = MetaGpu();
  ampere.major = 8;
  blackwell.major = 10;
  EXPECT_EQ(ChooseDeltaRule(served, MetaGpu()).path, DeltaRulePath::kSm90);
  EXPECT_EQ(ChooseDeltaRule(served, ampere).path, DeltaRulePath::kChunks);
  EXPECT_EQ(ChooseDeltaRule(served, blackwell).path, DeltaRulePath::kChunks);
  const auto path = [&](auto&& change) {
    DeltaRuleDesc desc = served;
    change(desc);
    return ChooseDeltaRule(desc, MetaGpu()).path;
  };
  EXPECT_EQ(path([](auto& d) { d.key_dim = 64, d.value_dim = 256; }), DeltaRulePath::kSm90);
  EXPECT_EQ(path([](auto& d) { d.key_dim = 96; }), DeltaRulePath::kChunks);
  EXPECT_EQ(path([](auto& d) { d.value_dim = 192; }), DeltaRulePath::kChunks);
  EXPECT_EQ(path([](auto& d) { d.dtype = DType::kFloat32; }), DeltaRulePath::kChunks);
  EXPECT_EQ(path([](auto& d) { d.aligned = false; }), DeltaRulePath::kChunks);
}

TEST(DeltaRulePlan, ShortDocumentsWithoutGradientGoTokenByToken) {
  const std::vector<int32_t> decoding = Offsets({1, 8, 0}), longer = Offsets({1, 9});
  DeltaRuleDesc desc = Desc(decoding);
  EXPECT_EQ(ChooseDeltaRule(desc, MetaGpu()).path, DeltaRulePath::kSm90);
  desc.gradient = false;
  EXPECT_EQ(ChooseDeltaRule(desc, MetaGpu()).path, DeltaRulePath::kRecurrence);
  EXPECT_EQ(ChooseDeltaRule(desc, MetaGpu()).workspace_bytes, 0);
  desc = Desc(longer);
  desc.gradient = false;
  EXPECT_EQ(ChooseDeltaRule(desc, MetaGpu()).path, DeltaRulePath::kSm90);
}

TEST(DeltaRulePlan, FewLongDocumentsAreCutIntoSegments) {
  // 16 heads of 128 value columns: 32 blocks of 64 columns scan a document.
  const std::vector<int32_t> one = Offsets({32768}), two = Offsets({32768, 32768});
  const DeltaRulePlan plan = ChooseDeltaRule(Desc(one), MetaGpu());
  EXPECT_EQ(plan.num_chunks, 512);
  EXPECT_EQ(plan.segment_chunks, 125);  // 512 x 32 / 132 SMs
  EXPECT_EQ(plan.num_segments, 5);
  EXPECT_EQ(plan.scan_columns, 64);  // 5 x 16 blocks of 128 columns leave SMs idle
  EXPECT_EQ(ChooseDeltaRule(Desc(two), MetaGpu()).num_segments, 0);  // 64 blocks: nearly half
  GpuInfo large = MetaGpu();
  large.num_sms = 264;
  EXPECT_EQ(ChooseDeltaRule(Desc(two), large).num_segments, 10);
  // No segment is worth its second scan below 16 chunks, nor two of a document.
  const std::vector<int32_t> medium = Offsets({2048});
  EXPECT_EQ(ChooseDeltaRule(Desc(medium), MetaGpu()).num_segments, 0);
}

TEST(DeltaRulePlan, ManyDocumentsAreScannedByWideBlocks) {
  const std::vector<int32_t> offsets = Offsets(std::vector<int32_t>(16, 2048));
  EXPECT_EQ(ChooseDeltaRule(Desc(offsets), MetaGpu()).scan_columns, 128);
  DeltaRuleDesc narrow = Desc(offsets);
  narrow.value_dim = 64;
  EXPECT_EQ(ChooseDeltaRule(narrow, MetaGpu()).scan_columns, 64);
}

TEST(DeltaRulePlan, CountsTheBytesThatPassesAllocate) {
  // 3 chunks: 65 tokens are two, 64 one.
  const std::vector<int32_t> offsets = Offsets({65, 64});
  DeltaRuleDesc desc = Desc(offsets);
  desc.decay = DeltaDecay::kPerChannel;
  DeltaRulePlan plan = ChooseDeltaRule(desc, MetaGpu());
  // A and P, ten row factors and one decay a channel, of 3 x 16 chunks and heads.
  EXPECT_EQ(plan.workspace_bytes, 48 * (2 * 64 * 64 * 2 + 10 * 64 * 4 + 128 * 4));
  // S and dS+ of each chunk; e and three operands of each token.
  EXPECT_EQ(plan.backward_bytes, 48 * 2 * 128 * 128 * 2 + 129 * 16 * (128 + 3 * 128) * 2);

  desc.dtype = DType::kFloat32;
  desc.decay = DeltaDecay::kNone;
  desc.key_dim = 96;  // padded to 128
  plan = ChooseDeltaRule(desc, MetaGpu());
  EXPECT_EQ(plan.workspace_bytes, 48 * 3 * 64 * 64 * 4);
  const int64_t of_token_heads = 128 + 128     // q and k, padded
                                 + 128 + 128   // e, y
                                 + 2           // norms
                                 + 1 + 1       // beta and its gradient
                                 + 128 + 128;  // dq, dk
  EXPECT_EQ(plan.backward_bytes, 4 * (48 * 2 * 128 * 128 + 129 * 16 * of_token_heads));
}

TEST(DeltaRulePlan, SaysWhatItIs) {
  const std::vector<int32_t> one = Offsets({32768}), decoding = Offsets({1, 1});
  EXPECT_EQ(ChooseDeltaRule(Desc(one), MetaGpu()).ToString(),
            "sm90: 512 chunks, 5 segments of 125, scans of 64 value columns; keeps 166 MB, "
            "backward 682 MB");
  DeltaRuleDesc desc = Desc(one);
  desc.dtype = DType::kFloat32;
  EXPECT_EQ(ChooseDeltaRule(desc, MetaGpu()).ToString(),
            "chunks: 512 chunks; keeps 403 MB, backward 2156 MB");
  desc = Desc(decoding);
  desc.gradient = false;
  EXPECT_EQ(ChooseDeltaRule(desc, MetaGpu()).ToString(), "recurrence");
}

}  // namespace
}  // namespace wyvern
