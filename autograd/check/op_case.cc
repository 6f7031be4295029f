#include "autograd/check/op_case.h"

namespace wyvern {

Tensor CaseRandom::Normal(Shape shape, double mean, double stddev) {
  Tensor t = Tensor::Empty(std::move(shape), DType::kFloat64, Device::kCpu);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.data<double>()[i] = mean + stddev * random_.Normal(index_++);
  }
  return t;
}

Tensor CaseRandom::Uniform(Shape shape, double low, double high) {
  Tensor t = Tensor::Empty(std::move(shape), DType::kFloat64, Device::kCpu);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.data<double>()[i] = low + (high - low) * random_.Uniform(index_++);
  }
  return t;
}

int64_t CaseRandom::Below(int64_t bound) {
  return static_cast<int64_t>(random_.Below(index_++, static_cast<uint64_t>(bound)));
}

}  // namespace wyvern
