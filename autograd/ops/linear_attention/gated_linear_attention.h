#ifndef WYVERN_AUTOGRAD_OPS_LINEAR_ATTENTION_GATED_LINEAR_ATTENTION_H_
#define WYVERN_AUTOGRAD_OPS_LINEAR_ATTENTION_GATED_LINEAR_ATTENTION_H_

#include <limits>

#include "autograd/check/op_case.h"
#include "autograd/tape.h"
#include "kernels/linear_attention/gated_linear_attention.h"

namespace wyvern {

// Gated linear attention with a decay per channel (GLA), per head or none. Equations, shapes and
// sources in kernels/linear_attention/gated_linear_attention.h. Value head j reads key head j / (HV
// / H).
struct GatedLinearAttention {
  static constexpr const char* kName = "gated_linear_attention";
  static constexpr WorkClass kClass = WorkClass::kLinearAttention;
  template <class T>
  struct Inputs {
    T q;     // [T, H, K]
    T k;     // [T, H, K]
    T v;     // [T, HV, V]
    T gate;  // [T, HV] or [T, HV, K] as Params::gate says; undefined without decay
    T h0;    // [N, HV, K, V] incoming states; optional: zeros
    FIELDS(q, k, v, gate, h0)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo, Role::kIo, Role::kIo, Role::kAcc};
  template <class T>
  struct Outputs {
    T o;   // [T, HV, V]
    T ht;  // [N, HV, K, V] outgoing states; undefined unless asked for
    FIELDS(o, ht)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo, Role::kAcc};
  struct Params {
    Tensor cu_seqlens;  // [N + 1] int32 on the op's device: where each document starts
    // The same offsets on the host: kernels plan their chunks from it without waiting for the
    // device.
    std::vector<int32_t> cu_seqlens_host;
    LinearDecay decay = LinearDecay::kNone;
    LinearGate gate = LinearGate::kLogDecay;
    double normalizer = 1;  // of LinearGate::kLogSigmoid, > 0
    double min_log_decay = -std::numeric_limits<double>::infinity();
    double scale = 0;  // multiplies q; 0: K^-1/2
    bool output_final_state = false;

    void MoveTo(Device device) { cu_seqlens = cu_seqlens.To(device); }
  };
  struct Saved {
    Inputs<Tensor> in;
    Params params;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<GatedLinearAttention>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<GatedLinearAttention>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_LINEAR_ATTENTION_GATED_LINEAR_ATTENTION_H_
