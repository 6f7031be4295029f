// Reverse-mode automatic differentiation. Ops run eagerly; the tape records, in order, what each
// backward needs.
//
// An op is a struct (autograd/ops/rms_norm.h is a short one to read):
//
//   struct Scale {
//     static constexpr const char* kName = "scale";
//     template <class T> struct Inputs { T x; FIELDS(x) };    // differentiable tensors
//     template <class T> struct Outputs { T y; FIELDS(y) };
//     struct Params { double factor = 1; };                   // everything else, index tensors too
//     struct Saved { Params params; };                        // all that Backward may read; with
//                                                             // a field Inputs<bool> wanted, the
//                                                             // forward is told what will be asked
//     static constexpr bool kOverwrites = true;               // if Backward asks TakeCleared()
//     static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
//     static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
//                                    const Inputs<GradRequest>& want);
//     static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
//   };
//
// Forward: `saved` is null when no gradient will be asked for. Optional inputs may be undefined.
// Backward: a field of `d_out` that is undefined is a zero gradient (at least one is defined).
// It returns the gradient of each input in the input's own shape and dtype, or an undefined tensor
// for one that is not wanted, is zero, or was added into its request's buffer already.
#ifndef WYVERN_AUTOGRAD_TAPE_H_
#define WYVERN_AUTOGRAD_TAPE_H_

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "autograd/bf16_storage.h"
#include "autograd/fields.h"
#include "autograd/op_case.h"
#include "autograd/profiler_range.h"
#include "autograd/tensor.h"

namespace wyvern {

// Necessary work of an op: floating-point operations of its products and least bytes moved.
struct Cost {
  double forward_flops = 0, backward_flops = 0;
  double forward_bytes = 0, backward_bytes = 0;

  Cost& operator+=(const Cost& other);
  Work forward() const { return {forward_flops, forward_bytes}; }
  Work backward() const { return {backward_flops, backward_bytes}; }
};

// What Backward is asked for one input.
struct GradRequest {
  bool wanted = false;
  // When defined: a buffer of the input's shape (fp32 for bf16 and fp32 inputs) that an op may add
  // the gradient into itself, instead of returning it. Parameters have one.
  Tensor into;
  // Of an op that declares kOverwrites; the tape has zeroed what others add into.
  bool* cleared = nullptr;

  // Whether `into` counts as zero but holds old numbers, so that the gradient is to be written
  // instead of added. To be asked once, by an op that then writes all of it.
  bool TakeCleared() const { return cleared != nullptr && std::exchange(*cleared, false); }
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
  // then they are seen through grad() alone, not in the buffer.
  void ClearGrad() const;

  // A view of the same elements in another shape; its gradient flows to the same place.
  Var Reshape(Shape shape) const;

 private:
  friend class Tape;
  Var(Tensor value, std::shared_ptr<GradSlot> slot)
      : value_(std::move(value)), slot_(std::move(slot)) {}

  Tensor value_;
  std::shared_ptr<GradSlot> slot_;
};

class Tape {
 public:
  // A tape that does not record runs ops without saving anything (no_grad).
  explicit Tape(bool recording = true) : recording_(recording) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  template <class Op>
  typename Op::template Outputs<Var> Apply(const typename Op::template Inputs<Var>& in,
                                           const typename Op::Params& params);

  // y = fn(x) keeping only x: backward runs fn again. fn must be a pure function of its inputs and
  // of parameters, whose gradients it adds as usual. Undefined entries of x stay undefined.
  using Segment = std::function<std::vector<Var>(Tape&, const std::vector<Var>&)>;
  std::vector<Var> Recompute(const Segment& fn, const std::vector<Var>& x);

  // Seeds `outputs` with their gradients, runs all recorded ops backward, and forgets them.
  // Activations are released as soon as they have been used.
  void Backward(const std::vector<std::pair<Var, Tensor>>& outputs);
  // With gradient one: for a loss of one element.
  void Backward(const Var& loss);

  bool recording() const { return recording_; }
  // Sum over the ops applied so far, without recomputation.
  const Cost& cost() const { return cost_; }

 private:
  struct Node {
    virtual ~Node() = default;
    virtual void Backward() = 0;
  };
  template <class Op>
  struct OpNode;
  struct RecomputeNode;

  static void Accumulate(GradSlot* slot, Tensor gradient);

  bool recording_;
  Pass pass_ = Pass::kForward;  // or kRecompute
  Cost cost_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

// ---------------------------------------------------------------------------------------------

template <class Op>
struct Tape::OpNode : Tape::Node {
  using Slot = std::shared_ptr<GradSlot>;
  typename Op::Saved saved;
  typename Op::template Inputs<Slot> in;
  typename Op::template Outputs<Slot> out;
  Cost cost;

  void Backward() override {
    ProfilerRange range(Op::kName, Pass::kBackward);
    typename Op::template Outputs<Tensor> d_out;
    bool any = false;
    ForEachField(
        [&](const char*, Tensor& d, const Slot& slot) {
          if (slot == nullptr) return;
          d = std::move(slot->grad);
          slot->grad = Tensor();
          any |= d.defined();
        },
        d_out, out);
    if (!any) return;
    range.SetWork(cost.backward());
    typename Op::template Inputs<GradRequest> want;
    ForEachField(
        [&](const char*, GradRequest& request, const Slot& slot) {
          request.wanted = slot != nullptr;
          if (slot == nullptr || !slot->leaf) return;
          request.into = slot->grad;
          if constexpr (requires { Op::kOverwrites; }) {
            request.cleared = &slot->cleared;
          } else {
            slot->Settle();
          }
        },
        want, in);
    typename Op::template Inputs<Tensor> d_in = Op::Backward(saved, d_out, want);
    if constexpr (requires { Op::kInputRoles; }) {
      if (const Bf16Storage* storage = Bf16Storage::active()) {
        size_t i = 0;
        ForEachField(
            [&](const char*, const Tensor& d, const Slot& slot) {
              const bool io = Op::kInputRoles[i++] == Role::kIo;
              if (io && d.defined() && slot != nullptr && !slot->leaf) storage->Round(d);
            },
            d_in, in);
      }
    }
    ForEachField(
        [&](const char*, Tensor& d, const Slot& slot) {
          if (slot != nullptr && d.defined()) Accumulate(slot.get(), std::move(d));
        },
        d_in, in);
  }
};

template <class Op>
typename Op::template Outputs<Var> Tape::Apply(const typename Op::template Inputs<Var>& in,
                                               const typename Op::Params& params) {
  ProfilerRange range(Op::kName, pass_);
  typename Op::template Inputs<Tensor> values;
  bool record = false;
  ForEachField(
      [&](const char*, Tensor& value, const Var& var) {
        value = var.value();
        record |= recording_ && var.requires_grad();
      },
      values, in);
  const Cost cost = Op::EstimateCost(values, params);
  cost_ += cost;
  range.SetWork(cost.forward());
  const Bf16Storage* storage = nullptr;
  if constexpr (requires { Op::kInputRoles; }) {
    storage = Bf16Storage::active();
    if (storage != nullptr) {
      size_t i = 0;
      ForEachField(
          [&](const char*, Tensor& value) {
            const bool io = Op::kInputRoles[i++] == Role::kIo;
            if (io && value.defined()) value = storage->Rounded(value);
          },
          values);
    }
  }
  auto node = record ? std::make_unique<OpNode<Op>>() : nullptr;
  if constexpr (requires(typename Op::Saved saved) { saved.wanted; }) {
    if (record) {
      ForEachField([](const char*, bool& wanted, const Var& var) { wanted = var.requires_grad(); },
                   node->saved.wanted, in);
    }
  }
  auto result = Op::Forward(values, params, node == nullptr ? nullptr : &node->saved);
  if constexpr (requires { Op::kInputRoles; }) {
    if (storage != nullptr) {
      size_t i = 0;
      ForEachField(
          [&](const char*, const Tensor& value) {
            const bool io = Op::kOutputRoles[i++] == Role::kIo;
            if (io && value.defined()) storage->Round(value);
          },
          result);
    }
  }
  typename Op::template Outputs<Var> out;
  if (node == nullptr) {
    ForEachField([](const char*, Var& var, Tensor& value) { var = Var(std::move(value)); }, out,
                 result);
    return out;
  }
  node->cost = cost;
  ForEachField(
      [](const char*, std::shared_ptr<GradSlot>& slot, const Var& var) { slot = var.slot_; },
      node->in, in);
  ForEachField(
      [&](const char*, std::shared_ptr<GradSlot>& slot, Var& var, Tensor& value) {
        if (!value.defined()) return;
        slot = std::make_shared<GradSlot>();
        slot->shape = value.shape();
        slot->bf16 = storage != nullptr;
        var = Var(std::move(value), slot);
      },
      node->out, out, result);
  nodes_.push_back(std::move(node));
  return out;
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_TAPE_H_
