#include "autograd/check/op_check.h"

#include <cstring>

namespace wyvern {

double RelativeRmsError(const Tensor& x, const Tensor& reference) {
  CHECK(x.numel() == reference.numel(), ToString(x.shape()), " against ",
        ToString(reference.shape()));
  double square_error = 0, square = 0;
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double r = reference.data<double>()[i], d = x.data<double>()[i] - r;
    square_error += d * d;
    square += r * r;
  }
  if (x.numel() == 0) return 0;
  return square > 0 ? std::sqrt(square_error / square)
                    : std::sqrt(square_error / static_cast<double>(x.numel()));
}

bool BitwiseEqual(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const Tensor x = a.To(Device::kCpu), y = b.To(Device::kCpu);
  return x.nbytes() == 0 || std::memcmp(x.raw(), y.raw(), x.nbytes()) == 0;
}

Tensor ToTypeOn(const Tensor& t, DType dtype, Device device) { return t.To(dtype).To(device); }

}  // namespace wyvern
