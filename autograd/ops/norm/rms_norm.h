#ifndef WYVERN_AUTOGRAD_OPS_NORM_RMS_NORM_H_
#define WYVERN_AUTOGRAD_OPS_NORM_RMS_NORM_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// RMS norm with fused residual add; equations in kernels/norm/rms_norm.h.
struct RmsNorm {
  static constexpr const char* kName = "rms_norm";
  static constexpr WorkClass kClass = WorkClass::kNorm;
  static constexpr bool kOverwrites = true;
  template <class T>
  struct Inputs {
    T x;         // [..., D]
    T residual;  // like x; optional
    T weight;    // [D]
    FIELDS(x, residual, weight)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo, Role::kAcc};
  template <class T>
  struct Outputs {
    T y;    // like x
    T sum;  // x + residual; undefined without a residual
    FIELDS(y, sum)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo, Role::kIo};
  struct Params {
    double eps = 1e-6;
    double weight_offset = 0;
  };
  struct Saved {
    Params params;
    Tensor s, weight, rstd;
    bool has_residual = false;
  };
  static constexpr bool kRecomputed[] = {true, false};
  static constexpr RecomputePolicy kRecompute = RecomputePolicy::kFused;

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Inputs<Tensor> BackwardAndRecompute(const Saved& saved, const Outputs<Tensor>& d_out,
                                             const Inputs<GradRequest>& want,
                                             const Outputs<Tensor>& out);
  static void Recompute(const Saved& saved, const Outputs<Tensor>& out);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<RmsNorm>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<RmsNorm>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_NORM_RMS_NORM_H_
