// Reverse-mode automatic differentiation. Ops run eagerly; the tape records, in order, what each
// backward needs.
//
// An op is a struct (autograd/ops/norm/rms_norm.h is a short one to read):
//
//   struct Scale {
//     static constexpr const char* kName = "scale";
//     static constexpr WorkClass kClass = WorkClass::kPointwise;  // its row in tables of time
//     template <class T> struct Inputs { T x; FIELDS(x) };    // differentiable tensors
//     template <class T> struct Outputs { T y; FIELDS(y) };
//     struct Params { double factor = 1; };                   // everything else, index tensors too
//     struct Saved { Params params; };                        // all that Backward may read; with
//                                                             // a field Inputs<bool> wanted, the
//                                                             // forward is told what will be
//                                                             // asked, and so is EstimateCost
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
//
// An op may also declare:
//
//     // By input: whether Forward and Backward read it in place when it is a view of columns. The
//     // tape gives the others a contiguous copy.
//     static constexpr bool kReadsColumns[] = {true};
//     // Recompute fills the defined fields of `out` with what Forward gave, from Saved alone.
//     // kRecomputed: which outputs it can; kRecompute: the policy from which on the tape calls it
//     // (Tape::Discard).
//     static constexpr bool kRecomputed[] = {true};
//     static constexpr RecomputePolicy kRecompute = RecomputePolicy::kElementwise;
//     static void Recompute(const Saved& saved, const Outputs<Tensor>& out);
//     // Backward and Recompute in one pass.
//     static Inputs<Tensor> BackwardAndRecompute(const Saved& saved, const Outputs<Tensor>& d_out,
//                                                const Inputs<GradRequest>& want,
//                                                const Outputs<Tensor>& out);
//     // Backward does not read the first input's value where only its gradient is wanted.
//     static constexpr bool kFirstGradientWithoutValue = true;
#ifndef WYVERN_AUTOGRAD_TAPE_H_
#define WYVERN_AUTOGRAD_TAPE_H_

#include <functional>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "autograd/bf16_storage.h"
#include "autograd/fields.h"
#include "autograd/profiler_range.h"
#include "autograd/role.h"
#include "autograd/tensor.h"
#include "autograd/var.h"

namespace wyvern {

class Tape {
 public:
  // A tape that does not record runs ops without saving anything (no_grad).
  explicit Tape(bool recording = true, RecomputePolicy policy = RecomputePolicy::kNone)
      : recording_(recording), policy_(policy) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  template <class Op>
  typename Op::template Outputs<Var> Apply(const typename Op::template Inputs<Var>& in,
                                           const typename Op::Params& params);

  // Activation checkpointing: y = fn(x) keeping only x, and backward runs fn again. fn must be a
  // pure function of its inputs and of parameters, whose gradients it adds as usual. Undefined
  // entries of x stay undefined.
  using Segment = std::function<std::vector<Var>(Tape&, const std::vector<Var>&)>;
  std::vector<Var> Recompute(const Segment& fn, const std::vector<Var>& x);

  // To be called right after the last use of `outputs`, which one op returned, in the forward.
  // Where policy and op allow it, their memory is freed, and backward recomputes them before the
  // first op that needs them. Otherwise, and for Vars that no op returned, nothing happens.
  void Discard(std::initializer_list<Var> outputs);

  // `fn` runs in Backward at this place: after the backward of what is applied later, before that
  // of what was applied earlier. It is not called without a backward.
  void OnBackward(std::function<void()> fn);

  // Makes `loss`, of one element, a term of what Backward differentiates besides its outputs: what
  // a part of a model adds to the loss without handing it on. Of no effect without a backward, and
  // counted once in a segment that is recomputed.
  void AddLoss(const Var& loss);

  // Seeds `outputs` with their gradients, runs all recorded ops backward, and forgets them.
  // Activations are released as soon as they have been used.
  void Backward(const std::vector<std::pair<Var, Tensor>>& outputs);
  // With gradient one: for a loss of one element.
  void Backward(const Var& loss);

  bool recording() const { return recording_; }
  // Sum over the ops applied so far, without recomputation.
  const Cost& cost() const { return cost_; }

 private:
  using Slot = std::shared_ptr<GradSlot>;
  struct Output {
    Slot slot;
    Tensor value;
  };
  struct Node : std::enable_shared_from_this<Node> {
    virtual ~Node() = default;
    virtual void Backward() = 0;
    virtual bool CanRecompute(RecomputePolicy, const Slot&) const { return false; }
    // Writes outputs of this node again.
    virtual void Recompute(const std::vector<Output>&) {}
    // The same, during this node's Backward; false if it cannot.
    virtual bool RecomputeInBackward(const Output&) { return false; }
    // Makes this node's Backward compute the first input's gradient alone, and leave the rest to
    // `producer`, which gave that input and has it again at the end of its own; false if it cannot.
    virtual bool PostponeTo(Node*, const Slot&) { return false; }
    std::function<void()> postponed;
  };
  template <class Op>
  struct OpNode;
  struct RecomputeNode;
  struct RestoreNode;
  struct CallNode;
  // Restores a value that was discarded, if it has not been yet.
  static void Restore(const Slot& slot);

  static void Accumulate(const Slot& slot, Tensor gradient);
  // Undefined without a gradient; leaves the slot empty.
  static Tensor TakeGradient(GradSlot* slot);
  // The columns of the whole's gradient that a view's gradient belongs in, if nothing is in them
  // yet; they then count as written.
  static Tensor ReservePlace(const GradSlot& slot);
  // Undoes ReservePlace.
  static void FreePlace(const GradSlot& slot);

  bool recording_;
  RecomputePolicy policy_;
  Pass pass_ = Pass::kForward;  // or kRecompute
  Cost cost_;
  std::vector<std::shared_ptr<Node>> nodes_;
};

// ---------------------------------------------------------------------------------------------

template <class Op>
struct Tape::OpNode : Tape::Node {
  static constexpr bool kRecomputes = requires { Op::kRecompute; };
  static constexpr bool kRecomputesInBackward = requires { &Op::BackwardAndRecompute; };
  typename Op::Saved saved;
  typename Op::template Inputs<Slot> in;
  typename Op::template Outputs<Slot> out;
  Cost cost;
  typename Op::template Outputs<Tensor> again;  // what Backward computes besides
  Node* postpone_to = nullptr;

  bool CanRecompute(RecomputePolicy policy, const Slot& output) const override {
    bool can = false;
    if constexpr (kRecomputes) {
      size_t i = 0;
      ForEachField(
          [&](const char* name, const Slot& slot) {
            CHECK(Op::kRecomputed[i] || slot != output, Op::kName, " cannot recompute ", name);
            ++i;
          },
          out);
      can = policy >= Op::kRecompute;
    }
    return can;
  }

  void Recompute(const std::vector<Output>& outputs) override {
    if constexpr (kRecomputes) {
      ForEachField([](const char*, const Slot& slot) { Restore(slot); }, in);
      ProfilerRange range(Op::kName, Op::kClass, Pass::kRecompute);
      range.SetWork(cost.forward());
      typename Op::template Outputs<Tensor> values;
      for (const Output& output : outputs) Put(output, &values);
      Op::Recompute(saved, values);
    }
  }

  bool RecomputeInBackward(const Output& output) override {
    if constexpr (kRecomputesInBackward) Put(output, &again);
    return kRecomputesInBackward;
  }

  bool PostponeTo(Node* producer, const Slot& x) override {
    if constexpr (requires { Op::kFirstGradientWithoutValue; }) {
      int uses = 0;
      ForEachField([&](const char*, const Slot& slot) { uses += slot == x; }, in);
      if (uses != 1 || std::get<0>(in.Tie()) != x) return false;
      postpone_to = producer;
      return true;
    }
    return false;
  }

  void Backward() override {
    DifferentiateAll();
    if (postponed) {
      postponed();
      postponed = nullptr;
    }
  }

 private:
  // Puts `output` into the field of its slot.
  void Put(const Output& output, typename Op::template Outputs<Tensor>* values) const {
    ForEachField(
        [&](const char*, Tensor& value, const Slot& slot) {
          if (slot == output.slot) value = output.value.Reshape(slot->shape);
        },
        *values, out);
  }

  void DifferentiateAll() {
    ProfilerRange range(Op::kName, Op::kClass, Pass::kBackward);
    typename Op::template Outputs<Tensor> d_out;
    bool any = false;
    ForEachField(
        [&](const char*, Tensor& d, const Slot& slot) {
          if (slot == nullptr) return;
          d = TakeGradient(slot.get());
          any |= d.defined();
        },
        d_out, out);
    CHECK(any || !postponed, Op::kName, ": a postponed backward without a gradient");
    if (!any) return;
    typename Op::template Inputs<GradRequest> want;
    ForEachField(
        [&](const char*, GradRequest& request, const Slot& slot) {
          request.wanted = slot != nullptr;
          if (slot == nullptr || !slot->leaf) return;
          slot->grad.Restore();
          request.into = slot->grad;
          if constexpr (requires { Op::kOverwrites; }) {
            request.cleared = &slot->cleared;
          } else {
            slot->Settle();
          }
        },
        want, in);
    Work work = cost.backward();
    if (postpone_to != nullptr) {
      work = {work.flops / 2, work.bytes / 2};  // of a matmul: one of two equal ones
      typename Op::template Inputs<GradRequest> first;
      std::swap(std::get<0>(first.Tie()), std::get<0>(want.Tie()));
      Differentiate(d_out, first);
      postpone_to->postponed = [this, self = this->shared_from_this(), d_out, want,
                                work]() mutable {
        ProfilerRange later(Op::kName, Op::kClass, Pass::kBackward);
        later.SetWork(work);
        Differentiate(d_out, want);
      };
    } else {
      Differentiate(d_out, want);
    }
    range.SetWork(work);
  }

  void Differentiate(const typename Op::template Outputs<Tensor>& d_out,
                     typename Op::template Inputs<GradRequest>& want) {
    ForEachField(
        [&](const char*, GradRequest& request, const Slot& slot) {
          if (request.wanted) request.place = ReservePlace(*slot);
        },
        want, in);
    typename Op::template Inputs<Tensor> d_in = [&] {
      if constexpr (kRecomputesInBackward) {
        bool recompute = false;
        ForEachField(
            [&](const char*, const Tensor& value) {
              if (!value.defined()) return;
              value.Restore();
              recompute = true;
            },
            again);
        if (recompute) return Op::BackwardAndRecompute(saved, d_out, want, again);
      }
      return Op::Backward(saved, d_out, want);
    }();
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
        [&](const char*, Tensor& d, GradRequest& request, const Slot& slot) {
          const bool in_place =
              request.place.defined() && d.defined() && d.SharesStorageWith(request.place);
          if (request.place.defined() && !in_place) FreePlace(*slot);
          request.place = Tensor();
          if (slot != nullptr && d.defined() && !in_place) Accumulate(slot, std::move(d));
          d = Tensor();
        },
        d_in, want, in);
  }
};

template <class Op>
typename Op::template Outputs<Var> Tape::Apply(const typename Op::template Inputs<Var>& in,
                                               const typename Op::Params& params) {
  ProfilerRange range(Op::kName, Op::kClass, pass_);
  typename Op::template Inputs<Tensor> values;
  bool record = false;
  size_t i = 0;
  ForEachField(
      [&](const char*, Tensor& value, const Var& var) {
        bool in_place = false;
        if constexpr (requires { Op::kReadsColumns; }) in_place = Op::kReadsColumns[i];
        ++i;
        value = in_place ? var.value() : var.value().Contiguous();
        record |= recording_ && var.requires_grad();
      },
      values, in);
  auto node = record ? std::make_shared<OpNode<Op>>() : nullptr;
  const Cost cost = [&] {
    if constexpr (requires(typename Op::Saved saved) { saved.wanted; }) {
      typename Op::template Inputs<bool> wanted = {};
      if (record) {
        ForEachField([](const char*, bool& w, const Var& var) { w = var.requires_grad(); }, wanted,
                     in);
        node->saved.wanted = wanted;
      }
      return Op::EstimateCost(values, params, wanted);
    } else {
      return Op::EstimateCost(values, params);
    }
  }();
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
        if (value.dtype() == DType::kInt32) {  // indices have no gradient
          var = Var(std::move(value));
          return;
        }
        slot = std::make_shared<GradSlot>();
        slot->shape = value.shape();
        slot->bf16 = storage != nullptr;
        slot->producer = std::shared_ptr<Node>(node);
        var = Var(std::move(value), slot);
      },
      node->out, out, result);
  nodes_.push_back(std::move(node));
  return out;
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_TAPE_H_
