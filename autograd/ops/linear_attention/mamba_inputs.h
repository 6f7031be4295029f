#ifndef WYVERN_AUTOGRAD_OPS_LINEAR_ATTENTION_MAMBA_INPUTS_H_
#define WYVERN_AUTOGRAD_OPS_LINEAR_ATTENTION_MAMBA_INPUTS_H_

#include <limits>

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// The inputs of Mamba-2's recurrence, from its convolution and time steps. Equations, shapes and
// source in kernels/linear_attention/mamba_inputs.h.
struct MambaInputs {
  static constexpr const char* kName = "mamba_inputs";
  static constexpr WorkClass kClass = WorkClass::kPointwise;
  template <class T>
  struct Inputs {
    T conv;       // [T, H P + 2 G N]
    T conv_bias;  // [H P + 2 G N]; optional: zeros
    T dt;         // [T, H]; may be columns
    T a_log;      // [H]
    T dt_bias;    // [H]
    FIELDS(conv, conv_bias, dt, a_log, dt_bias)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kAcc, Role::kIo, Role::kAcc, Role::kAcc};
  static constexpr bool kReadsColumns[] = {false, false, true, false, false};
  template <class T>
  struct Outputs {
    T x;  // [T, H, P]
    T v;  // [T, H, P]
    T k;  // [T, G, N]
    T q;  // [T, G, N]
    T g;  // [T, H] log decays
    FIELDS(x, v, k, q, g)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo, Role::kIo, Role::kIo, Role::kIo, Role::kIo};
  struct Params {
    int64_t head_dim = 0, num_groups = 1, state_dim = 0;  // P, G, N
    double min_dt = 0, max_dt = std::numeric_limits<double>::infinity();
  };
  struct Saved {
    Inputs<Tensor> in;
    Params params;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<MambaInputs>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<MambaInputs>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_LINEAR_ATTENTION_MAMBA_INPUTS_H_
