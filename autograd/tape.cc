#include "autograd/tape.h"

#include "kernels/ops/elementwise.h"

namespace wyvern {

Cost& Cost::operator+=(const Cost& other) {
  forward_flops += other.forward_flops;
  backward_flops += other.backward_flops;
  forward_bytes += other.forward_bytes;
  backward_bytes += other.backward_bytes;
  return *this;
}

Var Var::Leaf(Tensor value) {
  auto slot = std::make_shared<GradSlot>();
  slot->shape = value.shape();
  return Var(std::move(value), std::move(slot));
}

Var Var::Parameter(Tensor value, Tensor grad) {
  CHECK(value.shape() == grad.shape(), "gradient buffer ", ToString(grad.shape()), " of a value ",
        ToString(value.shape()));
  auto slot = std::make_shared<GradSlot>();
  slot->shape = value.shape();
  slot->grad = std::move(grad);
  slot->leaf = true;
  return Var(std::move(value), std::move(slot));
}

void GradSlot::Settle() {
  if (!std::exchange(cleared, false)) return;
  ProfilerRange range("zero_gradients", Pass::kUpdate);
  range.SetWork({.bytes = static_cast<double>(grad.nbytes())});
  grad.FillZero();
}

Tensor Var::grad() const {
  if (slot_ == nullptr) return Tensor();
  slot_->Settle();
  return slot_->grad;
}

void Var::ClearGrad() const {
  CHECK(slot_ != nullptr && slot_->leaf, "only a parameter's gradient can be cleared");
  slot_->cleared = true;
}

Var Var::Reshape(Shape shape) const { return Var(value_.Reshape(std::move(shape)), slot_); }

void Tape::Accumulate(GradSlot* slot, Tensor gradient) {
  if (!slot->grad.defined()) {
    CHECK(!slot->leaf, "a parameter without a gradient buffer");
    slot->grad = gradient.Reshape(slot->shape);
    return;
  }
  CHECK(slot->grad.numel() == gradient.numel(), "gradient ", ToString(gradient.shape()),
        " added to one of shape ", ToString(slot->grad.shape()));
  ProfilerRange range("add_gradient", Pass::kBackward);
  range.SetWork({.bytes = static_cast<double>(2 * slot->grad.nbytes() + gradient.nbytes())});
  if (slot->cleared) {
    slot->cleared = false;
    return slot->grad.CopyFrom(gradient.Reshape(slot->shape));
  }
  // The first gradient may be shared with another input's slot (x + y hands one tensor to both).
  if (!slot->leaf && !slot->grad.unique()) slot->grad = slot->grad.Clone();
  AddInto(slot->grad.device(), slot->grad.raw(), slot->grad.dtype(), gradient.raw(),
          gradient.dtype(), gradient.numel(), ComputeStream());
  if (slot->bf16) Bf16Storage::active()->Round(slot->grad);
}

struct Tape::RecomputeNode : Tape::Node {
  Segment fn;
  std::vector<Tensor> x;
  std::vector<std::shared_ptr<GradSlot>> in, out;

  void Backward() override {
    std::vector<std::pair<Var, Tensor>> seeds;
    Tape tape;
    tape.pass_ = Pass::kRecompute;
    std::vector<Var> leaves;
    for (size_t i = 0; i < x.size(); ++i) {
      leaves.push_back(in[i] == nullptr ? Var(x[i]) : Var::Leaf(x[i]));
    }
    const std::vector<Var> y = fn(tape, leaves);
    CHECK(y.size() == out.size(), "a recomputed segment gave another number of outputs");
    for (size_t i = 0; i < y.size(); ++i) {
      if (out[i] == nullptr || !out[i]->grad.defined()) continue;
      seeds.emplace_back(y[i], std::move(out[i]->grad));
      out[i]->grad = Tensor();
    }
    if (seeds.empty()) return;
    tape.Backward(seeds);
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (in[i] == nullptr) continue;
      Tensor gradient = leaves[i].grad();
      leaves[i] = Var();
      if (gradient.defined()) Accumulate(in[i].get(), std::move(gradient));
    }
  }
};

std::vector<Var> Tape::Recompute(const Segment& fn, const std::vector<Var>& x) {
  if (!recording_) return fn(*this, x);
  Tape quiet(/*recording=*/false);
  std::vector<Var> inputs;
  auto node = std::make_unique<RecomputeNode>();
  node->fn = fn;
  for (const Var& var : x) {
    inputs.emplace_back(var.value());
    node->x.push_back(var.value());
    node->in.push_back(var.slot_);
  }
  std::vector<Var> y = fn(quiet, inputs);
  cost_ += quiet.cost();
  for (Var& var : y) {
    node->out.push_back(var.defined() ? std::make_shared<GradSlot>() : nullptr);
    if (var.defined()) node->out.back()->shape = var.value().shape();
    var.slot_ = node->out.back();
  }
  nodes_.push_back(std::move(node));
  return y;
}

void Tape::Backward(const std::vector<std::pair<Var, Tensor>>& outputs) {
  for (const auto& [var, gradient] : outputs) {
    CHECK(var.requires_grad(), "backward from a value that depends on no parameter");
    CHECK(gradient.numel() == var.value().numel(), "seed ", ToString(gradient.shape()),
          " for a value ", ToString(var.value().shape()));
    Accumulate(var.slot_.get(), gradient);
  }
  while (!nodes_.empty()) {
    nodes_.back()->Backward();
    nodes_.pop_back();
  }
}

void Tape::Backward(const Var& loss) {
  CHECK(loss.value().numel() == 1, "a loss has one element, not ", ToString(loss.value().shape()));
  Tensor one = Tensor::EmptyLike(loss.value());
  Fill(one.device(), one.raw(), one.dtype(), 1.0, 1, ComputeStream());
  Backward({{loss, one}});
}

}  // namespace wyvern
