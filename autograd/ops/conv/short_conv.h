#ifndef WYVERN_AUTOGRAD_OPS_CONV_SHORT_CONV_H_
#define WYVERN_AUTOGRAD_OPS_CONV_SHORT_CONV_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// Causal depthwise convolution along each document, then an activation; see
// kernels/conv/short_conv.h.
struct ShortConv {
  static constexpr const char* kName = "short_conv";
  static constexpr WorkClass kClass = WorkClass::kConvolution;
  static constexpr bool kOverwrites = true;
  template <class T>
  struct Inputs {
    T x;              // [T, D]; may be columns
    T weight;         // [D, W]; weight[:, W-1] meets the current token
    T initial_state;  // [N, W-1, D] the inputs before each document, oldest first; optional: zeros
    FIELDS(x, weight, initial_state)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kAcc, Role::kIo};
  static constexpr bool kReadsColumns[] = {true, false, false};
  template <class T>
  struct Outputs {
    T y;            // [T, D], or its first part
    T y1, y2;       // [T, parts[1]], [T, parts[2]]; undefined without these parts
    T final_state;  // [N, W-1, D] the last W-1 inputs; undefined unless asked for
    FIELDS(y, y1, y2, final_state)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo, Role::kIo, Role::kIo, Role::kIo};
  static constexpr bool kRecomputed[] = {true, true, true, false};
  static constexpr RecomputePolicy kRecompute = RecomputePolicy::kElementwise;
  struct Params {
    std::vector<int64_t> parts;  // channels of each, at most three, D in all; empty: one part
    Tensor cu_seqlens;           // [N + 1] int32, on the op's device
    bool silu = true;            // SiLU after the convolution
    bool output_final_state = false;
    // Over initial_state, which final_state then is (forward alone).
    bool final_state_in_place = false;

    void MoveTo(Device device) { cu_seqlens = cu_seqlens.To(device); }
  };
  struct Saved {
    Inputs<Tensor> in;
    Params params;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static void Recompute(const Saved& saved, const Outputs<Tensor>& out);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<ShortConv>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<ShortConv>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_CONV_SHORT_CONV_H_
