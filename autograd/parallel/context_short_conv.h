#ifndef WYVERN_AUTOGRAD_PARALLEL_CONTEXT_SHORT_CONV_H_
#define WYVERN_AUTOGRAD_PARALLEL_CONTEXT_SHORT_CONV_H_

#include <memory>

#include "autograd/ops/conv/short_conv.h"
#include "autograd/parallel/row_exchange.h"

namespace wyvern {

// ShortConv over a sequence of tokens that is cut over the ranks of a CP group. A rank gets the
// W-1 inputs before its own from those that have them, and gives their gradients back. All ranks of
// the group apply it; the gradient of `weight` is that of this rank's tokens.
struct ContextShortConv {
  static constexpr const char* kName = "context_short_conv";
  static constexpr WorkClass kClass = WorkClass::kConvolution;
  static constexpr bool kOverwrites = true;
  template <class T>
  struct Inputs {
    T x;       // [T, D] this rank's tokens; may be columns
    T weight;  // [D, W]
    FIELDS(x, weight)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kAcc};
  static constexpr bool kReadsColumns[] = {true, false};
  template <class T>
  struct Outputs {
    T y;       // [T, D], or its first part
    T y1, y2;  // [T, parts[1]], [T, parts[2]]; undefined without these parts
    FIELDS(y, y1, y2)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo, Role::kIo, Role::kIo};
  static constexpr bool kRecomputed[] = {true, true, true};
  static constexpr RecomputePolicy kRecompute = RecomputePolicy::kElementwise;
  struct Params {
    ShortConv::Params conv;  // documents are those of the split; no final state
    std::shared_ptr<ContextSplit> split;
  };
  struct Saved {
    ShortConv::Saved conv;  // its initial_state holds the rows of other ranks
    std::shared_ptr<ContextSplit> split;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static void Recompute(const Saved& saved, const Outputs<Tensor>& out);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_PARALLEL_CONTEXT_SHORT_CONV_H_
