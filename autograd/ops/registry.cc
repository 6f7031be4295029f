#include "autograd/op_bench.h"
#include "autograd/op_check.h"
#include "autograd/op_registry.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/gated_delta_rule.h"
#include "autograd/ops/gated_rms_norm.h"
#include "autograd/ops/grouped_matmul.h"
#include "autograd/ops/l2_norm.h"
#include "autograd/ops/latent_attention.h"
#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/mla_keys.h"
#include "autograd/ops/moe_balance.h"
#include "autograd/ops/moe_combine.h"
#include "autograd/ops/moe_permute.h"
#include "autograd/ops/moe_route.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/ops/rope.h"
#include "autograd/ops/short_conv.h"
#include "autograd/ops/sigmoid_gate.h"
#include "autograd/ops/silu.h"
#include "autograd/ops/swiglu.h"

namespace wyvern {
namespace {

template <class Op>
OpRow Row() {
  return {.name = Op::kName, .check = CheckOp<Op>, .bench = BenchOp<Op>};
}

}  // namespace

const std::vector<OpRow>& OpRegistry() {
  // One row a line, so that additions merge.
  // clang-format off
  static const std::vector<OpRow> rows = {
      Row<Attention>(),
      Row<Embedding>(),
      Row<GatedDeltaRule>(),
      Row<GatedRmsNorm>(),
      Row<GroupedMatMul>(),
      Row<L2Norm>(),
      Row<LatentAttention>(),
      Row<LinearCrossEntropy>(),
      Row<MatMul>(),
      Row<MlaKeys>(),
      Row<MoeBalance>(),
      Row<MoeCombine>(),
      Row<MoePermute>(),
      Row<MoeRoute>(),
      Row<RmsNorm>(),
      Row<Rope>(),
      Row<ShortConv>(),
      Row<SigmoidGate>(),
      Row<Silu>(),
      Row<SwiGlu>(),
  };
  // clang-format on
  return rows;
}

}  // namespace wyvern
