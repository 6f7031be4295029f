#include "trainer/hf/relative_error.h"

#include <cmath>
#include <limits>

namespace wyvern {

std::vector<double> OnHost(const Tensor& t) {
  return t.To(Device::kCpu).To(DType::kFloat64).ToVector<double>();
}

namespace {

template <typename T>
double Rms(const T* x, const T* reference, size_t count) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < count; ++i) {
    const double r = reference[i], d = x[i] - r;
    difference += d * d;
    norm += r * r;
  }
  if (norm == 0) return difference == 0 ? 0 : std::numeric_limits<double>::infinity();
  return std::sqrt(difference / norm);
}

}  // namespace

double RelativeRms(const std::vector<double>& x, const std::vector<double>& reference) {
  return Rms(x.data(), reference.data(), x.size());
}

double RelativeRms(const Tensor& x, const Tensor& reference) {
  const auto is_plain = [](const Tensor& t) {
    return t.dtype() == DType::kFloat32 && t.device() == Device::kCpu && t.contiguous();
  };
  if (is_plain(x) && is_plain(reference)) {  // gradients of a large model: not copied
    return Rms(x.data<float>(), reference.data<float>(), static_cast<size_t>(x.numel()));
  }
  return RelativeRms(OnHost(x), OnHost(reference));
}

double Relative(double x, double reference) {
  return std::abs(x - reference) / std::abs(reference);
}

}  // namespace wyvern
