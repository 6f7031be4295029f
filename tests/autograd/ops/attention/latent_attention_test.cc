// Tests of attention over latent vectors alone; gradients and accuracy are checked through the
// registry.
#include "autograd/ops/attention/latent_attention.h"

#include <gtest/gtest.h>

#include "autograd/check/op_check.h"
#include "kernels/runtime/device.h"

namespace wyvern {
namespace {

Tensor Index(const std::vector<int32_t>& values) {
  return Tensor::FromVector(values, {static_cast<int64_t>(values.size())});
}

// The rows of one document follow those of another, with gaps between; some are shared.
TEST(LatentAttention, QueriesWithRangesOfKeysEqualEachAlone) {
  constexpr int64_t kRows = 700, H = 40, P = 16, R = 8, V = 16, L = 32;
  CaseRandom random("latent ranges");
  const Tensor q64 = random.Normal({4, H, P + R}), latent64 = random.Normal({kRows, L + R}),
               weight64 = random.Normal({H * (P + V), L});
  const std::vector<int32_t> begins = {350, 3, 0, 160}, ends = {700, 4, 130, 300};
  std::string why;
  std::vector<std::pair<Device, DType>> places = {{Device::kCpu, DType::kFloat64}};
  if (CudaAvailable(&why)) {
    places = {{Device::kCuda, DType::kFloat32}, {Device::kCuda, DType::kBf16}};
  }
  for (const auto& place : places) {
    const Device device = place.first;
    const DType dtype = place.second;
    const auto on = [&](const Tensor& x) { return ToTypeOn(x, dtype, device); };
    const Tensor q = on(q64), latent = on(latent64), weight = on(weight64);
    LatentAttention::Params params{.value_dim = V,
                                   .key_begins = Index(begins).To(device),
                                   .key_ends = Index(ends).To(device),
                                   .key_begins_host = begins,
                                   .key_ends_host = ends};
    const Tensor together = LatentAttention::Forward({q, latent, weight}, params, nullptr).o;
    for (int32_t i = 0; i < 4; ++i) {
      const Tensor alone =
          LatentAttention::Forward({q.Rows(i, i + 1), latent.Rows(begins[i], ends[i]), weight},
                                   {.value_dim = V}, nullptr)
              .o;
      const double error =
          RelativeRmsError(together.Rows(i, i + 1).To(Device::kCpu).To(DType::kFloat64),
                           alone.To(Device::kCpu).To(DType::kFloat64));
      EXPECT_LE(error, dtype == DType::kBf16      ? 4e-3
                       : dtype == DType::kFloat32 ? 1e-6
                                                  : 0)
          << "query " << i;
    }
    const double pairs = 350 + 1 + 130 + 140;
    EXPECT_EQ(LatentAttention::EstimateCost({q, latent, weight}, params).forward_flops,
              2.0 * H * (pairs * (2 * L + R) + 4 * L * (P + V)));
  }
}

}  // namespace
}  // namespace wyvern
