#include "autograd/tape.h"

#include <algorithm>

#include "kernels/pointwise/elementwise.h"

namespace wyvern {

Tensor Tape::TakeGradient(GradSlot* slot) {
  slot->FillOtherColumns();
  Tensor gradient = std::move(slot->grad);
  slot->grad = Tensor();
  return gradient;
}

Tensor Tape::ReservePlace(const GradSlot& slot) {
  if (slot.whole == nullptr || slot.rows) return Tensor();
  GradSlot& whole = *slot.whole;
  if (whole.grad.defined() && !whole.by_columns) return Tensor();
  const int64_t begin = slot.begin, end = begin + slot.shape[1];
  for (const auto& [other_begin, other_end] : whole.columns) {
    if (begin < other_end && other_begin < end) return Tensor();
  }
  if (!whole.grad.defined()) {
    whole.grad = Tensor::Empty(whole.shape, slot.dtype, slot.device);
    whole.by_columns = true;
  }
  whole.columns.emplace_back(begin, end);
  return whole.grad.Columns(begin, end);
}

void Tape::FreePlace(const GradSlot& slot) {
  auto& columns = slot.whole->columns;
  columns.erase(
      std::find(columns.begin(), columns.end(), std::pair(slot.begin, slot.begin + slot.shape[1])));
}

void Tape::Accumulate(const Slot& slot, Tensor gradient) {
  if (slot->whole != nullptr) {
    gradient = gradient.Reshape(slot->shape);
    ProfilerRange range("add_gradient", WorkClass::kPointwise, Pass::kBackward);
    range.SetWork({.bytes = static_cast<double>(2 * gradient.nbytes())});
    const Tensor place = ReservePlace(*slot);
    if (place.defined()) return place.CopyFrom(gradient);
    GradSlot* whole = slot->whole.get();
    whole->Settle();
    whole->FillOtherColumns();
    if (!whole->grad.defined()) {
      whole->grad = Tensor::Zeros(whole->shape, gradient.dtype(), gradient.device());
    }
    if (!whole->leaf && !whole->grad.unique()) whole->grad = whole->grad.Clone();
    const Tensor part = slot->PartOf(whole->grad);
    const Tensor sum = slot->rows ? part : part.Clone();
    AddInto(sum.device(), sum.raw(), sum.dtype(), gradient.raw(), gradient.dtype(), sum.numel(),
            ComputeStream());
    if (slot->bf16) Bf16Storage::active()->Round(sum);
    if (!slot->rows) part.CopyFrom(sum);
    return;
  }
  slot->FillOtherColumns();
  if (!slot->grad.defined()) {
    CHECK(!slot->leaf, "a parameter without a gradient buffer");
    slot->grad = gradient.Reshape(slot->shape);
    return;
  }
  CHECK(slot->grad.numel() == gradient.numel(), "gradient ", ToString(gradient.shape()),
        " added to one of shape ", ToString(slot->grad.shape()));
  ProfilerRange range("add_gradient", WorkClass::kPointwise, Pass::kBackward);
  range.SetWork({.bytes = static_cast<double>(2 * slot->grad.nbytes() + gradient.nbytes())});
  if (slot->cleared) {
    slot->cleared = false;
    slot->grad.Restore();
    return slot->grad.CopyFrom(gradient.Reshape(slot->shape));
  }
  // The first gradient may be shared with another input's slot (x + y hands one tensor to both).
  if (!slot->leaf && !slot->grad.unique()) slot->grad = slot->grad.Clone();
  AddInto(slot->grad.device(), slot->grad.raw(), slot->grad.dtype(), gradient.raw(),
          gradient.dtype(), gradient.numel(), ComputeStream());
  if (slot->bf16) Bf16Storage::active()->Round(slot->grad);
}

// Stands where outputs were discarded, so that backward comes here before it needs them.
struct Tape::RestoreNode : Tape::Node {
  std::shared_ptr<Node> producer;
  Node* consumer = nullptr;  // if the producer, it and this node follow one another
  std::vector<Output> outputs;
  bool done = false;

  void Backward() override {
    if (done) return;
    // If the one consumer can do without the value until the producer's backward has run, that
    // computes it for the cost of writing it.
    const bool together = consumer != nullptr && outputs.size() == 1;
    if (together && consumer->PostponeTo(producer.get(), outputs[0].slot)) {
      if (producer->RecomputeInBackward(outputs[0])) return;
      consumer->PostponeTo(nullptr, outputs[0].slot);
    }
    Restore();
  }

  void Restore() {
    if (done) return;
    done = true;
    for (const Output& output : outputs) output.value.Restore();
    producer->Recompute(outputs);
  }
};

void Tape::Restore(const Slot& slot) {
  if (slot == nullptr) return;
  const auto& restorer = slot->whole == nullptr ? slot->restorer : slot->whole->restorer;
  if (const auto node = restorer.lock()) std::static_pointer_cast<RestoreNode>(node)->Restore();
}

void Tape::Discard(std::initializer_list<Var> outputs) {
  // The emulation of bf16 rounds outputs after their op, which Op::Recompute knows nothing of.
  if (!recording_ || Bf16Storage::active() != nullptr) return;
  auto node = std::make_shared<RestoreNode>();
  for (const Var& var : outputs) {
    if (var.slot_ == nullptr) return;
    CHECK(var.slot_->whole == nullptr, "discard the whole, not its columns");
    const auto producer = std::static_pointer_cast<Node>(var.slot_->producer.lock());
    if (producer == nullptr || !producer->CanRecompute(policy_, var.slot_)) return;
    CHECK(node->producer == nullptr || node->producer == producer,
          "outputs of several ops discarded as one");
    node->producer = producer;
    node->outputs.push_back({var.slot_, var.value()});
  }
  const size_t n = nodes_.size();
  if (n >= 2 && nodes_[n - 2] == node->producer) node->consumer = nodes_[n - 1].get();
  for (const Output& output : node->outputs) {
    output.value.Discard();
    output.slot->restorer = node;
  }
  nodes_.push_back(std::move(node));
}

struct Tape::CallNode : Tape::Node {
  std::function<void()> fn;
  void Backward() override { fn(); }
};

void Tape::OnBackward(std::function<void()> fn) {
  if (!recording_) return;
  auto node = std::make_shared<CallNode>();
  node->fn = std::move(fn);
  nodes_.push_back(std::move(node));
}

void Tape::AddLoss(const Var& loss) {
  CHECK(loss.value().numel() == 1, "a loss has one element, not ", ToString(loss.value().shape()));
  if (!loss.requires_grad()) return;
  OnBackward([slot = loss.slot_, value = loss.value()] {
    const Tensor one = Tensor::EmptyLike(value);
    Fill(one.device(), one.raw(), one.dtype(), 1.0, 1, ComputeStream());
    Accumulate(slot, one);
  });
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
      if (out[i] == nullptr) continue;
      Tensor gradient = TakeGradient(out[i].get());
      if (gradient.defined()) seeds.emplace_back(y[i], std::move(gradient));
    }
    if (seeds.empty()) return;
    tape.Backward(seeds);
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (in[i] == nullptr) continue;
      Tensor gradient = leaves[i].grad();
      leaves[i] = Var();
      if (gradient.defined()) Accumulate(in[i], std::move(gradient));
    }
  }
};

std::vector<Var> Tape::Recompute(const Segment& fn, const std::vector<Var>& x) {
  if (!recording_) return fn(*this, x);
  Tape quiet(/*recording=*/false);
  std::vector<Var> inputs;
  auto node = std::make_shared<RecomputeNode>();
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
    Accumulate(var.slot_, gradient);
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
