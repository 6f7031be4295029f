// Variables: tensors with the places of their gradients; the requests that an op gets, and its
// cost.
#ifndef WYVERN_AUTOGRAD_VAR_H_
#define WYVERN_AUTOGRAD_VAR_H_

#include <memory>
#include <utility>
#include <vector>

#include "autograd/profiler_range.h"
#include "autograd/tensor.h"

namespace wyvern {

// Necessary work of an op: FLOPs of its matmuls and least bytes moved.
struct Cost {
  double forward_flops = 0, backward_flops = 0;
  double forward_bytes = 0, backward_bytes = 0;

  Cost& operator+=(const Cost& other);
  Work forward() const { return {forward_flops, forward_bytes}; }
  Work backward() const { return {backward_flops, backward_bytes}; }
};

// The request for one input's gradient.
struct GradRequest {
  bool wanted = false;
  // When defined: a buffer of the input's shape (fp32 for bf16 and fp32 inputs) that an op may add
  // the gradient into itself, instead of returning it. Parameters have one.
  Tensor into;
  // For an op that declares kOverwrites; for others the tape has zeroed the buffer.
  bool* cleared = nullptr;

  // Whether `into` counts as zero but holds old numbers, so that the gradient is to be written
  // instead of added. To be asked once, by an op that then writes all of it.
  bool TakeCleared() const { return cleared != nullptr && std::exchange(*cleared, false); }
  // For an op that declares kOverwrites: where it puts the whole gradient, and whether it adds it
  // there. Without a buffer, a tensor like x, which Backward is to return.
  std::pair<Tensor, bool> WriteOrAdd(const Tensor& x) const {
    if (!into.defined()) return {Tensor::EmptyLike(x), false};
    return {into, !TakeCleared()};
  }
  // When defined: columns [T, n] where an op may write the gradient and then return this tensor;
  // any other gradient that it returns is copied there.
  Tensor place;
};

// How much of what backward reads is recomputed there instead of kept. Each policy includes those
// before it. Nothing changes but time and memory.
enum class RecomputePolicy {
  kNone,
  kFused,        // outputs of norms and gates: the backward that reads their inputs writes them
  kElementwise,  // also of convolutions, by one pass over memory each
  kProjections,  // also outputs of the mixers' input projections and of experts' last one
};

// Where the gradient of one Var gathers.
struct GradSlot {
  Shape shape;           // of the value; views of it deliver gradients in shapes of their own
  Tensor grad;           // undefined: zero so far
  bool leaf = false;     // a parameter: grad is a buffer that gradients are added into
  bool cleared = false;  // a parameter's grad counts as zero, whatever it holds
  bool bf16 = false;     // under Bf16Storage: sums of gradients are rounded

  // Zeroes the buffer if it is not what it counts as.
  void Settle();
  // Writes zeros to the columns of the gradient that nothing was written to.
  void FillOtherColumns();

  // Set in a view of columns or rows, which has no gradient of its own: it goes to those of `whole`
  // from `begin` on.
  std::shared_ptr<GradSlot> whole;
  bool rows = false;
  int64_t begin = 0;
  DType dtype = DType::kFloat32;
  Device device = Device::kCpu;
  // While by_columns, `grad` is written in these ranges of columns only.
  bool by_columns = false;
  std::vector<std::pair<int64_t, int64_t>> columns;

  // The tape's nodes that computed the value and that will compute it again if it was discarded.
  std::weak_ptr<void> producer, restorer;

  // The part of a tensor of whole's shape that this slot stands for.
  Tensor PartOf(const Tensor& tensor) const;
};

// A tensor and, when it takes part in differentiation, the place of its gradient.
class Var {
 public:
  Var() = default;
  // A constant.
  explicit Var(Tensor value) : value_(std::move(value)) {}
  // A leaf whose gradient is returned by grad() after Backward.
  static Var Leaf(Tensor value);
  // A parameter: gradients are added into `grad`, which the caller zeroes or clears.
  static Var Parameter(Tensor value, Tensor grad);

  bool defined() const { return value_.defined(); }
  const Tensor& value() const { return value_; }
  bool requires_grad() const { return slot_ != nullptr; }
  // Undefined if no gradient has arrived.
  Tensor grad() const;
  // Zeroes the gradient of a parameter without a pass over memory: the first op that can writes its
  // gradient instead of adding it, and otherwise the zeros are written when they are needed. Until
  // then they are seen through grad() alone, not in the buffer, whose memory may be freed
  // (Tensor::Discard) until a gradient is written.
  void ClearGrad() const;

  // A view of the same elements in another shape; its gradient flows to the same place.
  Var Reshape(Shape shape) const;
  // A view of columns [begin, end) of a value [T, N]; its gradient is that of those columns.
  Var Columns(int64_t begin, int64_t end) const;
  // The same of the first axis.
  Var Rows(int64_t begin, int64_t end) const;

 private:
  friend class Tape;
  Var(Tensor value, std::shared_ptr<GradSlot> slot)
      : value_(std::move(value)), slot_(std::move(slot)) {}

  // The part of this Var that `part`, its value's, is.
  Var Part(Tensor part, bool rows, int64_t begin) const;

  Tensor value_;
  std::shared_ptr<GradSlot> slot_;
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_VAR_H_
