#include "autograd/bf16_storage.h"

#include <bit>

#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// SplitMix64's output function.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

float RoundStochastically(float x, uint64_t key) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;  // infinite or NaN
  const auto noise = static_cast<uint32_t>(Mix(key ^ Mix(bits)) >> 48);
  return std::bit_cast<float>((bits + noise) & 0xffff0000u);
}

}  // namespace

const Bf16Storage* Bf16Storage::active_ = nullptr;

Bf16Storage::Bf16Storage(Rounding rounding, uint64_t seed) : rounding_(rounding), seed_(seed) {
  CHECK(active_ == nullptr, "a second Bf16Storage at the same time");
  active_ = this;
}

Bf16Storage::~Bf16Storage() { active_ = nullptr; }

void Bf16Storage::Round(const Tensor& t) const {
  CHECK(t.device() == Device::kCpu && t.dtype() == DType::kFloat32,
        "Bf16Storage emulates with fp32 on the CPU, got ", Name(t.dtype()), " on ",
        Name(t.device()));
  if (!t.contiguous()) {
    t.CopyFrom(Rounded(t));
    return;
  }
  float* x = t.data<float>();
  const uint64_t stream = Mix(seed_ + 0x9e3779b97f4a7c15ull);
#pragma omp parallel for schedule(static) if (t.numel() > 65536)
  for (int64_t i = 0; i < t.numel(); ++i) {
    x[i] = rounding_ == Rounding::kNearest
               ? ToFloat(ToBf16(x[i]))
               : RoundStochastically(x[i], Mix(stream + static_cast<uint64_t>(i)));
  }
}

Tensor Bf16Storage::Rounded(const Tensor& t) const {
  const Tensor copy = t.Clone();
  Round(copy);
  return copy;
}

}  // namespace wyvern
