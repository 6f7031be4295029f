#ifndef WYVERN_AUTOGRAD_OPS_MATMUL_MATMUL_H_
#define WYVERN_AUTOGRAD_OPS_MATMUL_MATMUL_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// Product with a transposed weight, y = x W^T + bias; equations in kernels/matmul/matmul.h.
struct MatMul {
  static constexpr const char* kName = "matmul";
  static constexpr WorkClass kClass = WorkClass::kMatmul;
  static constexpr bool kOverwrites = true;
  template <class T>
  struct Inputs {
    T x;       // [..., K]
    T weight;  // [N, K]
    T bias;    // [N]; optional
    FIELDS(x, weight, bias)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo, Role::kAcc};
  template <class T>
  struct Outputs {
    T y;  // [..., N]
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {};
  static constexpr bool kFirstGradientWithoutValue = true;  // dx = dy W
  static constexpr bool kRecomputed[] = {true};
  static constexpr RecomputePolicy kRecompute = RecomputePolicy::kProjections;
  struct Saved {
    Inputs<Tensor> in;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static void Recompute(const Saved& saved, const Outputs<Tensor>& out);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<MatMul>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<MatMul>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_MATMUL_MATMUL_H_
