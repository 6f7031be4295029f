#ifndef WYVERN_AUTOGRAD_OPS_POINTWISE_ROW_GATE_H_
#define WYVERN_AUTOGRAD_OPS_POINTWISE_ROW_GATE_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// y_t = x_t * sigmoid(gate_t), one gate a row: the gate of shared experts, and of attention heads.
struct RowGate {
  static constexpr const char* kName = "row_gate";
  static constexpr WorkClass kClass = WorkClass::kPointwise;
  template <class T>
  struct Inputs {
    T x;     // [T, D]
    T gate;  // [T, 1]
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
  static std::vector<OpCase<RowGate>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<RowGate>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_POINTWISE_ROW_GATE_H_
