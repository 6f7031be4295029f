#ifndef WYVERN_AUTOGRAD_OPS_MOE_GROUPED_MATMUL_H_
#define WYVERN_AUTOGRAD_OPS_MOE_GROUPED_MATMUL_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// Products of rows with their experts' matrices; equations in kernels/moe/grouped_matmul.h.
struct GroupedMatMul {
  static constexpr const char* kName = "grouped_matmul";
  static constexpr WorkClass kClass = WorkClass::kExperts;
  static constexpr bool kOverwrites = true;
  template <class T>
  struct Inputs {
    T x;       // [R, K]
    T weight;  // [P E, N, K]: the first matrix of all experts, then their second one
    FIELDS(x, weight)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo};
  template <class T>
  struct Outputs {
    T y;  // [R, P N]
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    Tensor offsets;  // [E + 1] int32, from 0 to R: the rows of each expert

    void MoveTo(Device device) { offsets = offsets.To(device); }
  };
  static constexpr bool kFirstGradientWithoutValue = true;
  static constexpr bool kRecomputed[] = {true};
  static constexpr RecomputePolicy kRecompute = RecomputePolicy::kProjections;
  struct Saved {
    Inputs<Tensor> in;
    Params params;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static void Recompute(const Saved& saved, const Outputs<Tensor>& out);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<GroupedMatMul>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<GroupedMatMul>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_MOE_GROUPED_MATMUL_H_
