#ifndef WYVERN_AUTOGRAD_OPS_POINTWISE_SWIGLU_H_
#define WYVERN_AUTOGRAD_OPS_POINTWISE_SWIGLU_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// y = silu(gate) * up, element by element (arXiv 2002.05202).
struct SwiGlu {
  static constexpr const char* kName = "swiglu";
  static constexpr WorkClass kClass = WorkClass::kPointwise;
  template <class T>
  struct Inputs {
    T gate;  // any shape
    T up;    // like gate
    FIELDS(gate, up)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo};
  template <class T>
  struct Outputs {
    T y;  // like gate
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {};
  static constexpr bool kReadsColumns[] = {true, true};
  static constexpr bool kRecomputed[] = {true};
  static constexpr RecomputePolicy kRecompute = RecomputePolicy::kFused;
  struct Saved {
    Inputs<Tensor> in;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Inputs<Tensor> BackwardAndRecompute(const Saved& saved, const Outputs<Tensor>& d_out,
                                             const Inputs<GradRequest>& want,
                                             const Outputs<Tensor>& out);
  static void Recompute(const Saved& saved, const Outputs<Tensor>& out);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<SwiGlu>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<SwiGlu>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_POINTWISE_SWIGLU_H_
