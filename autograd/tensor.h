#ifndef WYVERN_AUTOGRAD_TENSOR_H_
#define WYVERN_AUTOGRAD_TENSOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/runtime/allocator.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

using Shape = std::vector<int64_t>;

// "[3, 4]"
std::string ToString(const Shape& shape);
int64_t NumElements(const Shape& shape);

// A row-major array with reference-counted storage. Copying a Tensor copies the handle, not the
// data; Reshape, Rows and Columns are views of the same storage. All but a view of columns are
// contiguous. A default-constructed Tensor is undefined and stands for an absent optional input or
// a zero gradient.
class Tensor {
 public:
  Tensor() = default;

  // Contents undefined.
  static Tensor Empty(Shape shape, DType dtype, Device device);
  static Tensor Zeros(Shape shape, DType dtype, Device device);
  // Same shape, dtype and device as `like`, contents undefined / zero.
  static Tensor EmptyLike(const Tensor& like);
  static Tensor ZerosLike(const Tensor& like);
  // On the CPU.
  template <typename T>
  static Tensor FromVector(const std::vector<T>& values, Shape shape);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t rank() const { return static_cast<int64_t>(shape_.size()); }
  // Size of axis `axis`; negative counts from the end.
  int64_t dim(int64_t axis) const;
  int64_t numel() const { return numel_; }
  int64_t nbytes() const { return numel_ * SizeOf(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  // The elements; T must be the tensor's element type. Null for an undefined tensor, so that an
  // absent optional input becomes a null pointer in the kernel's params struct. The tensor must be
  // contiguous.
  template <typename T>
  T* data() const {
    CHECK(contiguous(), "columns of a tensor are not contiguous");
    return columns<T>();
  }
  void* raw() const;
  // The same without that condition: rows of the first axis are row_stride() elements apart.
  template <typename T>
  T* columns() const {
    if (!defined()) return nullptr;
    CHECK(kDTypeOf<T> == dtype_, "expected ", Name(kDTypeOf<T>), ", the tensor is ", Name(dtype_));
    return static_cast<T*>(address());
  }
  void* address() const;  // of the first element
  int64_t row_stride() const;
  bool contiguous() const;

  // Views. Reshape of a view of columns keeps the first axis.
  Tensor Reshape(Shape shape) const;                 // one axis may be -1
  Tensor Rows(int64_t begin, int64_t end) const;     // [begin, end) of the first axis
  Tensor Columns(int64_t begin, int64_t end) const;  // [begin, end) of the second of two axes

  // Copies. To(...) returns the tensor itself when nothing changes.
  Tensor Clone() const;
  Tensor Contiguous() const;  // the tensor itself unless it is a view of columns
  Tensor To(Device device) const;
  Tensor To(DType dtype) const;  // between floating types: rounds to nearest even
  // Same shape; converts device and floating dtype.
  void CopyFrom(const Tensor& other) const;
  void FillZero() const;

  // As a vector on the host, waiting for the device; T must be the element type.
  template <typename T>
  std::vector<T> ToVector() const;

  // Whether no other Tensor shares the storage.
  bool unique() const { return storage_.use_count() == 1; }
  bool SharesStorageWith(const Tensor& other) const { return storage_ == other.storage_; }

  // Gives the memory back for all tensors that share the storage; they keep their shapes, and
  // their elements must not be asked for until Restore has given it memory, of undefined contents.
  void Discard() const { storage_->Discard(); }
  void Restore() const { storage_->Restore(); }

 private:
  std::shared_ptr<Buffer> storage_;
  int64_t offset_bytes_ = 0;
  int64_t row_stride_ = 0;  // of a view of columns, in elements; 0: contiguous
  Shape shape_;
  int64_t numel_ = 0;
  DType dtype_ = DType::kFloat32;
  Device device_ = Device::kCpu;
};

template <typename T>
Tensor Tensor::FromVector(const std::vector<T>& values, Shape shape) {
  Tensor t = Empty(std::move(shape), kDTypeOf<T>, Device::kCpu);
  CHECK(t.numel() == static_cast<int64_t>(values.size()), "shape ", ToString(t.shape()),
        " does not hold ", values.size(), " values");
  CopyBytes(t.raw(), Device::kCpu, values.data(), Device::kCpu, t.nbytes());
  return t;
}

template <typename T>
std::vector<T> Tensor::ToVector() const {
  CHECK(defined() && kDTypeOf<T> == dtype_, "expected ", Name(kDTypeOf<T>), ", the tensor is ",
        Name(dtype_));
  std::vector<T> values(numel_);
  CopyBytes(values.data(), Device::kCpu, raw(), device_, nbytes());
  return values;
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_TENSOR_H_
