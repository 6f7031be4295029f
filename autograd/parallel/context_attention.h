#ifndef WYVERN_AUTOGRAD_PARALLEL_CONTEXT_ATTENTION_H_
#define WYVERN_AUTOGRAD_PARALLEL_CONTEXT_ATTENTION_H_

#include <memory>

#include "autograd/ops/attention/attention.h"
#include "autograd/parallel/row_exchange.h"

namespace wyvern {

// Attention over a sequence of tokens that is cut over the ranks of a CP group. A rank gets the
// keys and values of its first document that lie on other ranks, with a window only those that it
// covers, and gives their gradients back. All ranks of the group apply it.
struct ContextAttention {
  static constexpr const char* kName = "context_attention";
  static constexpr WorkClass kClass = WorkClass::kAttention;
  template <class T>
  struct Inputs {
    T q;  // [T, H, D] this rank's tokens; all may be columns
    T k;  // [T, HK, D]
    T v;  // [T, HK, DV]
    FIELDS(q, k, v)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo, Role::kIo};
  static constexpr bool kReadsColumns[] = {true, true, true};
  template <class T>
  struct Outputs {
    T o;          // [T, H, DV]
    T max_logit;  // [H] of this rank's queries, if asked for; no gradient
    FIELDS(o, max_logit)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo, Role::kAcc};
  struct Params {
    Attention::Params attention;  // documents of the queries are those of the split; of the keys:
                                  // left out
    std::shared_ptr<ContextSplit> split;
  };
  struct Saved {
    Attention::Saved attention;  // with the keys and values of other ranks
    std::shared_ptr<ContextSplit> split;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_PARALLEL_CONTEXT_ATTENTION_H_
