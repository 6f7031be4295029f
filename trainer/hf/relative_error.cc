#include "trainer/hf/relative_error.h"

#include <cmath>
#include <limits>

namespace wyvern {

std::vector<double> OnHost(const Tensor& t) {
  return t.To(Device::kCpu).To(DType::kFloat64).ToVector<double>();
}

double RelativeRms(const std::vector<double>& x, const std::vector<double>& reference) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (x[i] - reference[i]) * (x[i] - reference[i]);
    norm += reference[i] * reference[i];
  }
  if (norm == 0) return difference == 0 ? 0 : std::numeric_limits<double>::infinity();
  return std::sqrt(difference / norm);
}

double Relative(double x, double reference) {
  return std::abs(x - reference) / std::abs(reference);
}

}  // namespace wyvern
