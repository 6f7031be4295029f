#include "autograd/check/op_bench.h"
#include "autograd/check/op_registry.h"
#include "autograd/ops/attention/attention.h"
#include "autograd/ops/attention/latent_attention.h"
#include "autograd/ops/attention/mla_keys.h"
#include "autograd/ops/attention/rope.h"
#include "autograd/ops/conv/short_conv.h"
#include "autograd/ops/delta_rule/gated_delta_rule.h"
#include "autograd/ops/head/embedding.h"
#include "autograd/ops/head/linear_cross_entropy.h"
#include "autograd/ops/linear_attention/gated_linear_attention.h"
#include "autograd/ops/linear_attention/mamba_inputs.h"
#include "autograd/ops/linear_attention/mamba_output.h"
#include "autograd/ops/matmul/matmul.h"
#include "autograd/ops/moe/grouped_matmul.h"
#include "autograd/ops/moe/moe_balance.h"
#include "autograd/ops/moe/moe_combine.h"
#include "autograd/ops/moe/moe_permute.h"
#include "autograd/ops/moe/moe_route.h"
#include "autograd/ops/norm/gated_rms_norm.h"
#include "autograd/ops/norm/l2_norm.h"
#include "autograd/ops/norm/rms_norm.h"
#include "autograd/ops/pointwise/add.h"
#include "autograd/ops/pointwise/row_gate.h"
#include "autograd/ops/pointwise/sigmoid_gate.h"
#include "autograd/ops/pointwise/silu.h"
#include "autograd/ops/pointwise/swiglu.h"

namespace wyvern {
const std::vector<OpRow>& OpRegistry() {
  // One row a line, so that additions merge.
  // clang-format off
  static const std::vector<OpRow> rows = {
      MakeOpRow<Add>(),
      MakeOpRow<Attention>(),
      MakeOpRow<Embedding>(),
      MakeOpRow<GatedDeltaRule>(),
      MakeOpRow<GatedLinearAttention>(),
      MakeOpRow<GatedRmsNorm>(),
      MakeOpRow<GroupedMatMul>(),
      MakeOpRow<L2Norm>(),
      MakeOpRow<LatentAttention>(),
      MakeOpRow<LinearCrossEntropy>(),
      MakeOpRow<MambaInputs>(),
      MakeOpRow<MambaOutput>(),
      MakeOpRow<MatMul>(),
      MakeOpRow<MlaKeys>(),
      MakeOpRow<MoeBalance>(),
      MakeOpRow<MoeCombine>(),
      MakeOpRow<MoePermute>(),
      MakeOpRow<MoeRoute>(),
      MakeOpRow<RmsNorm>(),
      MakeOpRow<Rope>(),
      MakeOpRow<RowGate>(),
      MakeOpRow<ShortConv>(),
      MakeOpRow<SigmoidGate>(),
      MakeOpRow<Silu>(),
      MakeOpRow<SwiGlu>(),
  };
  // clang-format on
  return rows;
}

}  // namespace wyvern
