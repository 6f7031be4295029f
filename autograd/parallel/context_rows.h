#ifndef WYVERN_AUTOGRAD_PARALLEL_CONTEXT_ROWS_H_
#define WYVERN_AUTOGRAD_PARALLEL_CONTEXT_ROWS_H_

#include <memory>

#include "autograd/parallel/row_exchange.h"
#include "autograd/tape.h"

namespace wyvern {

// y = x with the rows before it of this rank's first document, which other ranks have. What is
// computed of them here gives gradients that go back to those ranks. All ranks of the group apply
// it.
struct ContextRows {
  static constexpr const char* kName = "context_rows";
  static constexpr WorkClass kClass = WorkClass::kAttention;
  template <class T>
  struct Inputs {
    T x;  // [T, D] of this rank's tokens; may be columns
    FIELDS(x)
  };
  static constexpr Role kInputRoles[] = {Role::kIo};
  static constexpr bool kReadsColumns[] = {true};
  template <class T>
  struct Outputs {
    T y;  // [P + T, D]
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    std::shared_ptr<ContextSplit> split;
  };
  struct Saved {
    Params params;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_PARALLEL_CONTEXT_ROWS_H_
