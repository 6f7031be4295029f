#ifndef WYVERN_AUTOGRAD_OPS_NORM_GATED_RMS_NORM_H_
#define WYVERN_AUTOGRAD_OPS_NORM_GATED_RMS_NORM_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"
#include "kernels/norm/gated_rms_norm.h"

namespace wyvern {

// Norm of each head, then a gate: y = RMSNorm(x; weight, eps) * act(gate); see
// kernels/norm/gated_rms_norm.h.
struct GatedRmsNorm {
  static constexpr const char* kName = "gated_rms_norm";
  static constexpr WorkClass kClass = WorkClass::kNorm;
  static constexpr bool kOverwrites = true;
  template <class T>
  struct Inputs {
    T x;       // [T, H, V], normalised over V
    T gate;    // like x; optional (then no gate)
    T weight;  // [V]
    FIELDS(x, gate, weight)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo, Role::kAcc};
  template <class T>
  struct Outputs {
    T y;  // like x
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    double eps = 1e-6;
    GateActivation activation = GateActivation::kSilu;  // of the gate
  };
  static constexpr bool kReadsColumns[] = {false, true, false};
  static constexpr bool kRecomputed[] = {true};
  static constexpr RecomputePolicy kRecompute = RecomputePolicy::kFused;
  struct Saved {
    Inputs<Tensor> in;
    Params params;
    Tensor rstd;  // [T, H] Acc
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Inputs<Tensor> BackwardAndRecompute(const Saved& saved, const Outputs<Tensor>& d_out,
                                             const Inputs<GradRequest>& want,
                                             const Outputs<Tensor>& out);
  static void Recompute(const Saved& saved, const Outputs<Tensor>& out);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<GatedRmsNorm>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<GatedRmsNorm>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_NORM_GATED_RMS_NORM_H_
