#include "kernels/delta_rule/plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

constexpr int64_t kTile = 64;               // of keys and values
constexpr int64_t kMaxRecurrentTokens = 8;  // beyond, chunks are faster than single tokens
constexpr int64_t kMinSegmentChunks = 16;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t DocumentTokens(const DeltaRuleDesc& desc, int64_t n) {
  return desc.cu_seqlens[n + 1] - desc.cu_seqlens[n];
}

int64_t DocumentChunks(const DeltaRuleDesc& desc, int64_t n) {
  return CeilDiv(DocumentTokens(desc, n), kDeltaChunk);
}

int64_t LongestDocument(const DeltaRuleDesc& desc) {
  int64_t longest = 0;
  for (int64_t n = 0; n < desc.num_docs; ++n) longest = std::max(longest, DocumentTokens(desc, n));
  return longest;
}

bool Sm90Serves(const DeltaRuleDesc& d, const GpuInfo& gpu) {
  return gpu.RunsSm90() && d.dtype == DType::kBf16 && d.aligned &&
         (d.key_dim == 64 || d.key_dim == 128) &&
         (d.value_dim == 64 || d.value_dim == 128 || d.value_dim == 256);
}

void ChooseSegments(const DeltaRuleDesc& d, const GpuInfo& gpu, DeltaRulePlan* plan) {
  const int64_t heads = d.num_value_heads * (d.value_dim / kTile);  // blocks of a document's scan
  // Below a third of the GPU's blocks, the segments' second scan is the smaller cost.
  if (d.num_docs * heads * 3 > gpu.num_sms) return;
  const int64_t length =
      std::max(CeilDiv(plan->num_chunks * heads, gpu.num_sms), kMinSegmentChunks);
  int64_t longest = 0, count = 0;
  for (int64_t n = 0; n < d.num_docs; ++n) {
    const int64_t own = DocumentChunks(d, n);
    longest = std::max(longest, own);
    count += std::max<int64_t>(CeilDiv(own, length), 1);
  }
  if (longest <= 2 * length) return;
  plan->num_segments = count;
  plan->segment_chunks = length;
}

void ChooseSm90(const DeltaRuleDesc& d, const GpuInfo& gpu, DeltaRulePlan* plan) {
  ChooseSegments(d, gpu, plan);
  // 128 value columns a block where that gives enough blocks to fill the GPU, else 64.
  const int64_t scans = plan->num_segments > 0 ? plan->num_segments : d.num_docs;
  const int64_t wide_blocks = scans * d.num_value_heads * (d.value_dim / (2 * kTile));
  const bool wide = d.value_dim > kTile && wide_blocks * 4 >= gpu.num_sms * 3;
  plan->scan_columns = wide ? 2 * kTile : kTile;

  const int64_t chunk_heads = plan->num_chunks * d.num_value_heads;
  const int64_t segment_heads = plan->num_segments * d.num_value_heads;
  const int64_t token_heads = d.num_tokens * d.num_value_heads;
  plan->kept = {
      .square_bytes = chunk_heads * kDeltaChunk * kDeltaChunk * 2,
      .rows_bytes = chunk_heads * kDeltaRowFactors * kDeltaChunk * 4,
      .decay_bytes = d.decay == DeltaDecay::kNone ? 0 : chunk_heads * d.key_dim * 4,
      .segment_state_bytes = segment_heads * d.key_dim * d.value_dim * 4,
      .transition_bytes = segment_heads * d.key_dim * d.key_dim * 4,
  };
  plan->workspace_bytes = plan->kept.bytes();
  const int64_t operands = d.decay == DeltaDecay::kPerChannel ? 3 * token_heads * d.key_dim : 0;
  const int64_t states = 2 * chunk_heads * d.key_dim * d.value_dim;  // S and dS+
  const int64_t e = token_heads * d.value_dim;
  plan->backward_bytes = 2 * (operands + states + e) + 2 * plan->kept.segment_state_bytes;
}

// The buffers of cuda/, whose key and value dims are padded.
void CountChunksBytes(const DeltaRuleDesc& d, DeltaRulePlan* plan) {
  const bool narrow = d.dtype == DType::kBf16, per_channel = d.decay == DeltaDecay::kPerChannel;
  const int64_t size = SizeOf(d.dtype);
  const int64_t keys = d.key_dim <= 64 ? 64 : d.key_dim <= 128 ? 128 : 256;
  const int64_t values = CeilDiv(d.value_dim, kTile) * kTile;
  const int64_t chunk_heads = plan->num_chunks * d.num_value_heads;
  const int64_t token_heads = d.num_tokens * d.num_value_heads;
  plan->workspace_bytes = 3 * chunk_heads * kDeltaChunk * kDeltaChunk * size;  // A - I, P, M

  const int64_t key_heads = d.num_tokens * d.num_heads;
  const int64_t padded = keys == d.key_dim && d.aligned ? 0 : 2 * key_heads * keys;  // q and k
  const int64_t operands = per_channel ? 3 * token_heads * keys : 0;
  const int64_t states = 2 * chunk_heads * keys * values;        // S and dS+
  const int64_t rows = (narrow ? 4 : 2) * token_heads * values;  // e, y, their rests
  const int64_t gates = d.decay == DeltaDecay::kNone ? 0 : per_channel ? keys : 1;  // G, and dg
  const int64_t floats = 2 * key_heads                                              // norms
                         + token_heads * (2 + 2 * keys + 2 * gates)  // beta, dq, dk, ..
                         + (per_channel ? chunk_heads * keys : 0);   // e^{G_C}
  plan->backward_bytes = size * (padded + operands + states + rows) + 4 * floats;
}

std::string Megabytes(int64_t bytes) { return absl::StrCat(CeilDiv(bytes, 1'000'000), " MB"); }

}  // namespace

DeltaRulePlan ChooseDeltaRule(const DeltaRuleDesc& desc, const GpuInfo& gpu) {
  DeltaRulePlan plan;
  for (int64_t n = 0; n < desc.num_docs; ++n) plan.num_chunks += DocumentChunks(desc, n);
  if (!desc.gradient && LongestDocument(desc) <= kMaxRecurrentTokens) {
    plan.path = DeltaRulePath::kRecurrence;
  } else if (Sm90Serves(desc, gpu)) {
    plan.path = DeltaRulePath::kSm90;
    ChooseSm90(desc, gpu, &plan);
  } else {
    plan.path = DeltaRulePath::kChunks;
    CountChunksBytes(desc, &plan);
  }
  return plan;
}

std::string DeltaRulePlan::ToString() const {
  if (path == DeltaRulePath::kRecurrence) return Name(path);
  std::string text = absl::StrCat(Name(path), ": ", num_chunks, " chunks");
  if (path == DeltaRulePath::kSm90) {
    if (num_segments > 0) {
      absl::StrAppend(&text, ", ", num_segments, " segments of ", segment_chunks);
    }
    absl::StrAppend(&text, ", scans of ", scan_columns, " value columns");
  }
  return absl::StrCat(text, "; keeps ", Megabytes(workspace_bytes), ", backward ",
                      Megabytes(backward_bytes));
}

}  // namespace wyvern
