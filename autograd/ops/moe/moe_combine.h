#ifndef WYVERN_AUTOGRAD_OPS_MOE_MOE_COMBINE_H_
#define WYVERN_AUTOGRAD_OPS_MOE_MOE_COMBINE_H_

#include "autograd/check/op_case.h"
#include "autograd/ops/moe/expert_plan.h"
#include "autograd/tape.h"

namespace wyvern {

// Tokens' weighted sums over their experts' rows; the gather of kernels/moe/moe_rows.h.
struct MoeCombine {
  static constexpr const char* kName = "moe_combine";
  static constexpr WorkClass kClass = WorkClass::kRouting;
  template <class T>
  struct Inputs {
    T rows;     // [R, D]
    T weights;  // [T, k]; optional: 1, with k = 1
    T shared;   // [T, D]; optional
    FIELDS(rows, weights, shared)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kAcc, Role::kIo};
  template <class T>
  struct Outputs {
    T y;  // [T, D]
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  using Params = PlanPosition;
  struct Saved {
    Params params;
    Tensor rows, weights;
    bool has_shared = false;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<MoeCombine>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<MoeCombine>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_MOE_MOE_COMBINE_H_
