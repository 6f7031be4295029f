#ifndef WYVERN_AUTOGRAD_OPS_POINTWISE_SIGMOID_GATE_H_
#define WYVERN_AUTOGRAD_OPS_POINTWISE_SIGMOID_GATE_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// y = x * sigmoid(gate), element by element: the output gate of attention layers.
struct SigmoidGate {
  static constexpr const char* kName = "sigmoid_gate";
  static constexpr WorkClass kClass = WorkClass::kPointwise;
  template <class T>
  struct Inputs {
    T x;     // any shape
    T gate;  // like x
    FIELDS(x, gate)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo};
  template <class T>
  struct Outputs {
    T y;  // like x
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {};
  struct Saved {
    Inputs<Tensor> in;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<SigmoidGate>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<SigmoidGate>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_POINTWISE_SIGMOID_GATE_H_
