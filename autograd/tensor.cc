#include "autograd/tensor.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/pointwise/elementwise.h"
#include "kernels/runtime/checked_math.h"

namespace wyvern {

std::string ToString(const Shape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

int64_t NumElements(const Shape& shape) {
  const std::optional<int64_t> n = CheckedProduct(shape);
  CHECK(n.has_value(), "shape ", ToString(shape));
  return *n;
}

Tensor Tensor::Empty(Shape shape, DType dtype, Device device) {
  Tensor t;
  t.numel_ = NumElements(shape);
  CHECK(CheckedProduct({t.numel_, SizeOf(dtype)}).has_value(), "shape ", ToString(shape));
  t.shape_ = std::move(shape);
  t.dtype_ = dtype;
  t.device_ = device;
  t.storage_ = std::make_shared<Buffer>(device, static_cast<size_t>(t.nbytes()));
  return t;
}

Tensor Tensor::Zeros(Shape shape, DType dtype, Device device) {
  Tensor t = Empty(std::move(shape), dtype, device);
  t.FillZero();
  return t;
}

Tensor Tensor::EmptyLike(const Tensor& like) {
  return Empty(like.shape(), like.dtype(), like.device());
}

Tensor Tensor::ZerosLike(const Tensor& like) {
  return Zeros(like.shape(), like.dtype(), like.device());
}

int64_t Tensor::dim(int64_t axis) const {
  const int64_t i = axis < 0 ? axis + rank() : axis;
  CHECK(i >= 0 && i < rank(), "axis ", axis, " of shape ", ToString(shape_));
  return shape_[i];
}

void* Tensor::raw() const {
  CHECK(contiguous(), "columns of a tensor are not contiguous");
  return address();
}

void* Tensor::address() const {
  if (!defined()) return nullptr;
  CHECK(!storage_->discarded(), "the memory of a tensor ", ToString(shape_), " was freed");
  return static_cast<char*>(storage_->data()) + offset_bytes_;
}

int64_t Tensor::row_stride() const {
  if (row_stride_ != 0) return row_stride_;
  return rank() == 0 || shape_[0] == 0 ? 0 : numel_ / shape_[0];
}

bool Tensor::contiguous() const { return row_stride_ == 0; }

Tensor Tensor::Reshape(Shape shape) const {
  int64_t known = 1, unknown = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1) {
      CHECK(unknown < 0, "more than one -1 in ", ToString(shape));
      unknown = static_cast<int64_t>(i);
    } else {
      known *= shape[i];
    }
  }
  if (unknown >= 0) shape[unknown] = known == 0 ? 0 : numel_ / known;
  CHECK(NumElements(shape) == numel_, "cannot view ", ToString(shape_), " as ", ToString(shape));
  CHECK(contiguous() || (!shape.empty() && shape[0] == shape_[0]), "cannot view columns ",
        ToString(shape_), " as ", ToString(shape));
  Tensor view = *this;
  view.shape_ = std::move(shape);
  return view;
}

Tensor Tensor::Rows(int64_t begin, int64_t end) const {
  CHECK(rank() > 0 && 0 <= begin && begin <= end && end <= dim(0), "rows ", begin, " to ", end,
        " of ", ToString(shape_));
  const int64_t row = dim(0) == 0 ? 0 : numel_ / dim(0);
  Tensor view = *this;
  view.shape_[0] = end - begin;
  view.numel_ = (end - begin) * row;
  view.offset_bytes_ += begin * row_stride() * SizeOf(dtype_);
  return view;
}

Tensor Tensor::Columns(int64_t begin, int64_t end) const {
  CHECK(rank() == 2 && 0 <= begin && begin <= end && end <= dim(1), "columns ", begin, " to ", end,
        " of ", ToString(shape_));
  Tensor view = *this;
  view.shape_[1] = end - begin;
  view.numel_ = shape_[0] * (end - begin);
  view.offset_bytes_ += begin * SizeOf(dtype_);
  const bool together = end - begin == dim(1) || dim(0) <= 1;
  view.row_stride_ = together && contiguous() ? 0 : row_stride();
  return view;
}

Tensor Tensor::Clone() const {
  Tensor copy = EmptyLike(*this);
  copy.CopyFrom(*this);
  return copy;
}

Tensor Tensor::Contiguous() const { return !defined() || contiguous() ? *this : Clone(); }

Tensor Tensor::To(Device device) const {
  if (!defined() || device == device_) return *this;
  Tensor copy = Empty(shape_, dtype_, device);
  copy.CopyFrom(*this);
  return copy;
}

Tensor Tensor::To(DType dtype) const {
  if (!defined() || dtype == dtype_) return *this;
  Tensor copy = Empty(shape_, dtype, device_);
  copy.CopyFrom(*this);
  return copy;
}

void Tensor::CopyFrom(const Tensor& other) const {
  CHECK(shape_ == other.shape_, "cannot copy ", ToString(other.shape_), " into ", ToString(shape_));
  if (dtype_ != other.dtype_) {
    if (device_ != other.device_) {
      CopyFrom(other.To(dtype_));
    } else if (!other.contiguous()) {
      CopyFrom(other.Clone());
    } else if (!contiguous()) {
      CopyFrom(other.To(dtype_));
    } else {
      Cast(device_, raw(), dtype_, other.raw(), other.dtype_, numel_, ComputeStream());
    }
    return;
  }
  if (contiguous() && other.contiguous()) {
    return CopyBytes(raw(), device_, other.raw(), other.device_, nbytes());
  }
  if (device_ != other.device_) {
    return contiguous() ? CopyFrom(other.Clone()) : CopyFrom(other.To(device_));
  }
  const int64_t rows = dim(0), size = SizeOf(dtype_);
  CopyRows(device_, address(), row_stride() * size, other.address(), other.row_stride() * size,
           rows, rows == 0 ? 0 : nbytes() / rows, ComputeStream());
}

void Tensor::FillZero() const {
  if (contiguous()) return FillBytes(raw(), device_, 0, nbytes());
  CopyFrom(ZerosLike(*this));
}

}  // namespace wyvern
