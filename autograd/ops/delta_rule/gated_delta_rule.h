#ifndef WYVERN_AUTOGRAD_OPS_DELTA_RULE_GATED_DELTA_RULE_H_
#define WYVERN_AUTOGRAD_OPS_DELTA_RULE_GATED_DELTA_RULE_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"
#include "kernels/delta_rule/gated_delta_rule.h"

namespace wyvern {

// The delta-rule family: DeltaNet (no decay), Gated DeltaNet (a decay per head) and Kimi Delta
// Attention (a decay per channel), with L2 norm, beta's sigmoid and the gate inside. Equations,
// shapes and sources in kernels/delta_rule/gated_delta_rule.h. Value head j reads key head j / (HV
// / H).
struct GatedDeltaRule {
  static constexpr const char* kName = "gated_delta_rule";
  static constexpr WorkClass kClass = WorkClass::kDeltaRule;
  template <class T>
  struct Inputs {
    T q;        // [T, H, K]
    T k;        // [T, H, K]
    T v;        // [T, HV, V]
    T beta;     // [T, HV] as Params::beta says; optional: ones
    T gate;     // [T, HV] or [T, HV, K] as Params::gate says; undefined without decay
    T a_log;    // [HV]; for a softplus or bounded gate
    T dt_bias;  // [HV] or [HV, K]; likewise
    T h0;       // [N, HV, K, V] incoming states; optional: zeros
    FIELDS(q, k, v, beta, gate, a_log, dt_bias, h0)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo,  Role::kIo,  Role::kIo,
                                         Role::kIo, Role::kAcc, Role::kAcc, Role::kAcc};
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
    DeltaDecay decay = DeltaDecay::kNone;
    DeltaGate gate = DeltaGate::kLogDecay;
    double lower_bound = -5;  // of the bounded gate, in [-5, 0)
    DeltaBeta beta = DeltaBeta::kSigmoid;
    bool l2_norm = true;        // normalise q and k inside
    double l2_norm_eps = 1e-6;  // inside the root, > 0
    double scale = 0;           // multiplies q; 0: K^-1/2
    bool output_final_state = false;
    // Over h0, which ht then is: forward alone, documents of one token, whose kernels read a state
    // before they write it.
    bool final_state_in_place = false;

    void MoveTo(Device device) { cu_seqlens = cu_seqlens.To(device); }
  };
  struct Saved {
    Inputs<Tensor> in;
    Params params;
    // Holds what the chosen kernel keeps for its backward, by name in
    // kernels/delta_rule/gated_delta_rule.h.
    Tensor workspace;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<GatedDeltaRule>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<GatedDeltaRule>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_DELTA_RULE_GATED_DELTA_RULE_H_
