#ifndef WYVERN_AUTOGRAD_OPS_LINEAR_ATTENTION_MAMBA_OUTPUT_H_
#define WYVERN_AUTOGRAD_OPS_LINEAR_ATTENTION_MAMBA_OUTPUT_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// The skip, gate and norm behind Mamba-2's recurrence. Equations, shapes and source in
// kernels/linear_attention/mamba_output.h.
struct MambaOutput {
  static constexpr const char* kName = "mamba_output";
  static constexpr WorkClass kClass = WorkClass::kNorm;
  template <class T>
  struct Inputs {
    T o;       // [T, H, P]
    T x;       // [T, H, P]
    T gate;    // [T, H P]; may be columns
    T skip;    // [H]
    T weight;  // [H P]
    FIELDS(o, x, gate, skip, weight)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo, Role::kIo, Role::kAcc, Role::kAcc};
  static constexpr bool kReadsColumns[] = {false, false, true, false, false};
  template <class T>
  struct Outputs {
    T y;  // [T, H P]
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    int64_t num_groups = 1;  // of channels with a mean square each; a divisor of H P
    double eps = 1e-6;
  };
  struct Saved {
    Inputs<Tensor> in;
    Params params;
    Tensor rstd;  // [T, G] Acc
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<MambaOutput>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<MambaOutput>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_LINEAR_ATTENTION_MAMBA_OUTPUT_H_
