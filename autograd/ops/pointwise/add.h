#ifndef WYVERN_AUTOGRAD_OPS_POINTWISE_ADD_H_
#define WYVERN_AUTOGRAD_OPS_POINTWISE_ADD_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// y = a + b: a residual stream where no norm adds it (RmsNorm's residual).
struct Add {
  static constexpr const char* kName = "add";
  static constexpr WorkClass kClass = WorkClass::kPointwise;
  template <class T>
  struct Inputs {
    T a;  // any shape
    T b;  // like a
    FIELDS(a, b)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo};
  template <class T>
  struct Outputs {
    T y;  // like a
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {};
  struct Saved {};

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<Add>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<Add>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_POINTWISE_ADD_H_
