#ifndef WYVERN_AUTOGRAD_OPS_POINTWISE_SILU_H_
#define WYVERN_AUTOGRAD_OPS_POINTWISE_SILU_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// y = x sigmoid(x), element by element.
struct Silu {
  static constexpr const char* kName = "silu";
  static constexpr WorkClass kClass = WorkClass::kPointwise;
  template <class T>
  struct Inputs {
    T x;  // any shape
    FIELDS(x)
  };
  static constexpr Role kInputRoles[] = {Role::kIo};
  template <class T>
  struct Outputs {
    T y;  // like x
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {};
  struct Saved {
    Tensor x;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<Silu>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<Silu>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_POINTWISE_SILU_H_
