// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves where that is more than a trifle, and tell the plan that they would follow.
#include <type_traits>

#include "kernels/matmul/gemm_plan.h"
#include "kernels/matmul/matmul.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {

template <typename In, typename Out>
void Gemm(MetaTag, const GemmParams<In, Out>& p) {
  if (p.m == 0 || p.n == 0 || p.k == 0 || p.batch == 0) return;
  // Tensors of their own are aligned where their rows are.
  const bool aligned = (p.k * sizeof(In)) % 16 == 0 && (p.n * sizeof(Out)) % 16 == 0;
  const GemmDesc desc = {.m = p.n,
                         .n = p.m,
                         .k = p.k,
                         .batch = p.batch,
                         .bf16 = std::is_same_v<In, Bf16>,
                         .tileable = !p.transpose_a && aligned};
  NotePlan("gemm", ChooseGemm(desc, MetaGpu())[0]);
}
template <typename Io>
void AddRow(MetaTag, const AddRowParams<Io>&) {}
template <typename Io>
void ColumnSum(MetaTag, const ColumnSumParams<Io>&) {}

template void Gemm(MetaTag, const GemmParams<float, float>&);
template void Gemm(MetaTag, const GemmParams<Bf16, Bf16>&);
template void Gemm(MetaTag, const GemmParams<Bf16, float>&);
template void AddRow(MetaTag, const AddRowParams<float>&);
template void AddRow(MetaTag, const AddRowParams<Bf16>&);
template void ColumnSum(MetaTag, const ColumnSumParams<float>&);
template void ColumnSum(MetaTag, const ColumnSumParams<Bf16>&);

}  // namespace wyvern
