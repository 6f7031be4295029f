#ifndef WYVERN_AUTOGRAD_OPS_MOE_MOE_BALANCE_H_
#define WYVERN_AUTOGRAD_OPS_MOE_MOE_BALANCE_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// Sequence-wise balance loss of a router; equations in kernels/moe/moe_balance.h.
struct MoeBalance {
  static constexpr const char* kName = "moe_balance";
  static constexpr WorkClass kClass = WorkClass::kRouting;
  template <class T>
  struct Inputs {
    T scores;  // [T, E], positive
    FIELDS(scores)
  };
  static constexpr Role kInputRoles[] = {Role::kAcc};
  template <class T>
  struct Outputs {
    T loss;  // [1]
    FIELDS(loss)
  };
  static constexpr Role kOutputRoles[] = {Role::kAcc};
  struct Params {
    Tensor cu_seqlens;  // [N + 1] int32, from 0 to T
    int64_t experts_per_token = 1;
    double factor = 1;

    void MoveTo(Device device) { cu_seqlens = cu_seqlens.To(device); }
  };
  struct Saved {
    Params params;
    Tensor scores, fractions;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<MoeBalance>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<MoeBalance>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_MOE_MOE_BALANCE_H_
