#include "autograd/op_check.h"
#include "autograd/op_registry.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/gated_delta_rule.h"
#include "autograd/ops/rms_norm.h"

namespace wyvern {
namespace {

template <class Op>
OpRow Row() {
  return {.name = Op::kName, .check = CheckOp<Op>};
}

}  // namespace

const std::vector<OpRow>& OpRegistry() {
  static const std::vector<OpRow> rows = {
      Row<Attention>(),
      Row<GatedDeltaRule>(),
      Row<RmsNorm>(),
  };
  return rows;
}

}  // namespace wyvern
