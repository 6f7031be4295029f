#ifndef WYVERN_AUTOGRAD_OPS_NORM_L2_NORM_H_
#define WYVERN_AUTOGRAD_OPS_NORM_L2_NORM_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// y = x (sum(x^2) + eps)^-1/2 over the last axis, eps inside the root; see kernels/norm/l2_norm.h.
struct L2Norm {
  static constexpr const char* kName = "l2_norm";
  static constexpr WorkClass kClass = WorkClass::kNorm;
  template <class T>
  struct Inputs {
    T x;  // [..., K]
    FIELDS(x)
  };
  static constexpr Role kInputRoles[] = {Role::kIo};
  template <class T>
  struct Outputs {
    T y;  // like x
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    double eps = 1e-6;
  };
  struct Saved {
    Tensor y, rstd;  // like x; [...] Acc
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<L2Norm>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<L2Norm>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_NORM_L2_NORM_H_
