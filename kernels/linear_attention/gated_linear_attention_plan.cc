#include "kernels/linear_attention/gated_linear_attention_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxStepTokens = 8;  // of a document; beyond, chunks are faster than steps
// Below, the second scan over a span costs more than it saves.
constexpr int64_t kMinSpanTokens = 512;
// So many blocks of threads occupy a GPU: two for each of some hundred SMs.
constexpr int64_t kBlocks = 264;

}  // namespace

std::string LinearAttentionPlan::ToString() const {
  if (steps) return "forward by steps";
  const std::string spans =
      span_tokens > 0 ? absl::StrCat("spans of ", span_tokens, " tokens") : "documents whole";
  return absl::StrCat("chunks, ", spans, ", padded to ", key_pad, " x ", value_pad);
}

template <typename Io>
LinearAttentionPlan ChooseLinearAttention(const GatedLinearAttentionInputs<Io>& in) {
  constexpr int64_t kChunk = kLinearAttentionChunk;
  const auto ceil_div = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  LinearAttentionPlan plan;
  int64_t longest = 0;
  for (int64_t n = 0; n < in.num_docs; ++n) {
    longest = std::max<int64_t>(longest, in.cu_seqlens_host[n + 1] - in.cu_seqlens_host[n]);
  }
  plan.steps = longest <= kMaxStepTokens;
  plan.key_pad = in.key_dim <= 64 ? 64 : in.key_dim <= 128 ? 128 : 256;
  plan.value_pad = ceil_div(in.value_dim, 64) * 64;
  plan.chunk_slots = LinearAttentionSlots(in.num_docs, in.num_tokens, kChunk);
  const int64_t columns = in.num_value_heads * (plan.value_pad / 64);
  // A scan over whole documents that fills half of the GPU beats two over spans.
  if (in.num_docs * columns * 2 >= kBlocks) return plan;
  const int64_t tokens = std::max(
      ceil_div(ceil_div(in.num_tokens * columns, kBlocks), kChunk) * kChunk, kMinSpanTokens);
  if (longest <= 2 * tokens) return plan;
  plan.span_tokens = tokens;
  plan.span_slots = LinearAttentionSlots(in.num_docs, in.num_tokens, tokens);
  return plan;
}

template <typename Io>
int64_t LinearAttentionScratchBytes(const GatedLinearAttentionInputs<Io>& in, bool backward) {
  const LinearAttentionPlan plan = ChooseLinearAttention(in);
  if (plan.steps && !backward) return 0;
  constexpr int64_t kIo = sizeof(Io);
  const int64_t HV = in.num_value_heads, chunk_heads = plan.chunk_slots * HV;
  const int64_t operands = 2 * in.num_tokens * HV * plan.key_pad * kIo;
  const int64_t squares = chunk_heads * kLinearAttentionChunk * kLinearAttentionChunk * kIo;
  const int64_t decays = (chunk_heads + plan.span_slots * HV) * plan.key_pad * 4;
  const int64_t states = backward ? 2 * chunk_heads * plan.key_pad * plan.value_pad * kIo : 0;
  const int64_t group_sums =
      backward && HV > in.num_heads ? 2 * in.num_tokens * in.num_heads * in.key_dim * 4 : 0;
  const int64_t spans = plan.span_slots * HV * in.key_dim * in.value_dim * 4;
  return operands + squares + decays + states + group_sums + spans;
}

template LinearAttentionPlan ChooseLinearAttention(const GatedLinearAttentionInputs<float>&);
template LinearAttentionPlan ChooseLinearAttention(const GatedLinearAttentionInputs<Bf16>&);
template int64_t LinearAttentionScratchBytes(const GatedLinearAttentionInputs<float>&, bool);
template int64_t LinearAttentionScratchBytes(const GatedLinearAttentionInputs<Bf16>&, bool);

}  // namespace wyvern
