#include "autograd/var.h"

#include <algorithm>

#include "kernels/runtime/check.h"

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
  grad.Restore();
  ProfilerRange range("zero_gradients", WorkClass::kCopies, Pass::kUpdate);
  range.SetWork({.bytes = static_cast<double>(grad.nbytes())});
  grad.FillZero();
}

void GradSlot::FillOtherColumns() {
  if (!by_columns) return;
  by_columns = false;
  if (columns.empty()) {
    grad = Tensor();
    return;
  }
  std::sort(columns.begin(), columns.end());
  columns.emplace_back(shape[1], shape[1]);
  int64_t done = 0;
  for (const auto& [begin, end] : columns) {
    if (begin > done) grad.Columns(done, begin).FillZero();
    done = end;
  }
  columns.clear();
}

Tensor GradSlot::PartOf(const Tensor& tensor) const {
  return rows ? tensor.Rows(begin, begin + shape[0]) : tensor.Columns(begin, begin + shape[1]);
}

Tensor Var::grad() const {
  if (slot_ == nullptr) return Tensor();
  GradSlot* whole = slot_->whole == nullptr ? slot_.get() : slot_->whole.get();
  whole->Settle();
  whole->FillOtherColumns();
  if (slot_->whole == nullptr || !whole->grad.defined()) return whole->grad;
  return slot_->PartOf(whole->grad).Contiguous();
}

void Var::ClearGrad() const {
  CHECK(slot_ != nullptr && slot_->leaf, "only a parameter's gradient can be cleared, as a whole");
  slot_->cleared = true;
}

Var Var::Reshape(Shape shape) const { return Var(value_.Reshape(std::move(shape)), slot_); }

Var Var::Columns(int64_t begin, int64_t end) const {
  return Part(value_.Columns(begin, end), /*rows=*/false, begin);
}

Var Var::Rows(int64_t begin, int64_t end) const {
  return Part(value_.Rows(begin, end), /*rows=*/true, begin);
}

Var Var::Part(Tensor part, bool rows, int64_t begin) const {
  if (slot_ == nullptr) return Var(std::move(part));
  CHECK(slot_->shape == value_.shape(), "part of a value in another shape than it was made in");
  CHECK(slot_->whole == nullptr || slot_->rows == rows, "columns of rows, or rows of columns");
  auto slot = std::make_shared<GradSlot>();
  slot->shape = part.shape();
  slot->whole = slot_->whole == nullptr ? slot_ : slot_->whole;
  slot->rows = rows;
  slot->begin = slot_->begin + begin;
  slot->bf16 = slot_->bf16;
  slot->dtype = part.dtype();
  slot->device = part.device();
  return Var(std::move(part), std::move(slot));
}

}  // namespace wyvern
