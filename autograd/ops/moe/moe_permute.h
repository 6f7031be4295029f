#ifndef WYVERN_AUTOGRAD_OPS_MOE_MOE_PERMUTE_H_
#define WYVERN_AUTOGRAD_OPS_MOE_MOE_PERMUTE_H_

#include "autograd/check/op_case.h"
#include "autograd/ops/moe/expert_plan.h"
#include "autograd/tape.h"

namespace wyvern {

// Tokens' rows in the order of a plan; the scatter of kernels/moe/moe_rows.h without weights.
struct MoePermute {
  static constexpr const char* kName = "moe_permute";
  static constexpr WorkClass kClass = WorkClass::kRouting;
  template <class T>
  struct Inputs {
    T x;  // [T, D]
    FIELDS(x)
  };
  static constexpr Role kInputRoles[] = {Role::kIo};
  template <class T>
  struct Outputs {
    T rows;  // [R, D]
    FIELDS(rows)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  using Params = PlanPosition;
  struct Saved {
    Params params;
    Tensor x;
  };
  static constexpr bool kRecomputed[] = {true};
  static constexpr RecomputePolicy kRecompute = RecomputePolicy::kElementwise;

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static void Recompute(const Saved& saved, const Outputs<Tensor>& out);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<MoePermute>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<MoePermute>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_MOE_MOE_PERMUTE_H_
