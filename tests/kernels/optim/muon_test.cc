#include "kernels/optim/muon.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/check/op_check.h"
#include "kernels/optim/dispatch_muon.h"

namespace wyvern {
namespace {

constexpr double kMomentum = 0.95, kClip = 0.37, kLr = 1e-2;

// Sizes around the vector width and beyond one block; more than one launch's table.
std::vector<int64_t> Sizes() {
  std::vector<int64_t> sizes = {1, 5, 1023, 4096, 40001};
  for (int64_t i = 0; i < 150; ++i) sizes.push_back(i % 7);
  return sizes;
}

struct Devices {
  Device device;
  DType type;
  double tolerance;  // of what is kept in Acc
  double rounding;   // of the matmuls' type
};

std::vector<Devices> AllDevices() {
  std::vector<Devices> all = {{Device::kCpu, DType::kFloat64, 1e-15, 1e-15},
                              {Device::kCpu, DType::kFloat32, 1e-6, 1e-6}};
  if (CudaAvailable()) all.push_back({Device::kCuda, DType::kBf16, 1e-6, 4e-3});
  return all;
}

Tensor Back(const Tensor& t) { return t.To(Device::kCpu).To(DType::kFloat64); }

TEST(Muon, MomentumFollowsThePlainFormula) {
  for (const Devices& d : AllDevices()) {
    for (const int32_t finite_value : {1, 0}) {
      const DType acc = AccDType(d.type);
      CaseRandom random("muon momentum");
      const Tensor finite = Tensor::FromVector<int32_t>({finite_value}, {1}).To(d.device);
      const Tensor clip = Tensor::FromVector<double>({kClip}, {1}).To(acc).To(d.device);
      std::vector<Tensor> grads, before, m, u;
      for (const int64_t n : Sizes()) {
        grads.push_back(ToTypeOn(random.Normal({n}, 0, 0.3), acc, d.device));
        before.push_back(ToTypeOn(random.Normal({n}), acc, d.device));
        m.push_back(before.back().Clone());
        u.push_back(Tensor::Empty({n}, d.type, d.device));
      }
      DispatchMuon(d.device, d.type, [&](auto tag, auto type) {
        using T = typename decltype(type)::type;
        using Acc = AccOf<T>;
        MuonMomentumParams<T> params{.momentum = kMomentum,
                                     .grad_scale = clip.data<Acc>(),
                                     .finite = finite.data<int32_t>(),
                                     .stream = ComputeStream()};
        for (size_t i = 0; i < m.size(); ++i) {
          params.tensors.push_back(
              {m[i].numel(), grads[i].data<Acc>(), m[i].data<Acc>(), u[i].data<T>()});
        }
        MuonMomentum(tag, params);
      });
      for (size_t i = 0; i < m.size(); ++i) {
        const Tensor grad = Back(grads[i]), expected_m = Back(before[i]).Clone();
        const Tensor expected_u = Tensor::Zeros(grad.shape(), DType::kFloat64, Device::kCpu);
        for (int64_t j = 0; j < grad.numel() && finite_value != 0; ++j) {
          const double g = kClip * grad.data<double>()[j];
          double& moment = expected_m.data<double>()[j];
          moment = kMomentum * moment + g;
          expected_u.data<double>()[j] = g + kMomentum * moment;
        }
        EXPECT_LE(RelativeRmsError(Back(m[i]), expected_m), finite_value ? d.tolerance : 0);
        EXPECT_LE(RelativeRmsError(Back(u[i]), expected_u), finite_value ? d.rounding : 0);
      }
    }
  }
}

TEST(Muon, ApplyFollowsThePlainFormula) {
  for (const Devices& d : AllDevices()) {
    for (const int32_t finite_value : {1, 0}) {
      const DType acc = AccDType(d.type);
      CaseRandom random("muon apply");
      const Tensor finite = Tensor::FromVector<int32_t>({finite_value}, {1}).To(d.device);
      std::vector<Tensor> before, master, o, copy;
      for (const int64_t n : Sizes()) {
        before.push_back(ToTypeOn(random.Normal({n}), acc, d.device));
        o.push_back(ToTypeOn(random.Normal({n}), d.type, d.device));
        master.push_back(before.back().Clone());
        copy.push_back(before.back().To(d.type).Clone());
      }
      const auto scale = [](size_t i) { return 0.2 * static_cast<double>(i % 5 + 1); };
      const auto decay = [](size_t i) { return i % 2 == 0 ? 0.1 : 0.0; };
      DispatchMuon(d.device, d.type, [&](auto tag, auto type) {
        using T = typename decltype(type)::type;
        using Acc = AccOf<T>;
        MuonApplyParams<T> params{
            .lr = kLr, .finite = finite.data<int32_t>(), .stream = ComputeStream()};
        for (size_t i = 0; i < master.size(); ++i) {
          params.tensors.push_back({.num_elements = o[i].numel(),
                                    .master = master[i].data<Acc>(),
                                    .o = o[i].data<T>(),
                                    .copy = i % 3 == 0 ? nullptr : copy[i].data<T>(),
                                    .scale = scale(i),
                                    .weight_decay = decay(i)});
        }
        MuonApply(tag, params);
      });
      for (size_t i = 0; i < master.size(); ++i) {
        const Tensor expected = Back(before[i]).Clone(), update = Back(o[i]);
        for (int64_t j = 0; j < update.numel() && finite_value != 0; ++j) {
          double& w = expected.data<double>()[j];
          w = w * (1 - kLr * decay(i)) - kLr * scale(i) * update.data<double>()[j];
        }
        EXPECT_LE(RelativeRmsError(Back(master[i]), expected), finite_value ? d.tolerance : 0);
        const bool copied = i % 3 != 0 && finite_value != 0;
        EXPECT_TRUE(BitwiseEqual(copy[i].To(Device::kCpu),
                                 (copied ? master[i] : before[i]).To(d.type).To(Device::kCpu)));
      }
    }
  }
}

TEST(Muon, NormalizesEachMatrix) {
  for (const Devices& d : AllDevices()) {
    for (const auto& [batch, n] : {std::pair<int64_t, int64_t>(3, 7), {4, 64}, {2, 200000}}) {
      CaseRandom random("muon norm");
      const Tensor x = ToTypeOn(random.Normal({batch, n}), d.type, d.device);
      x.Rows(1, 2).FillZero();  // stays zero
      const Tensor y = Tensor::EmptyLike(x);
      DispatchMuon(d.device, d.type, [&](auto tag, auto type) {
        using T = typename decltype(type)::type;
        NormalizeMatrices(tag, NormalizeMatricesParams<T>{.batch = batch,
                                                          .num_elements = n,
                                                          .x = x.data<T>(),
                                                          .y = y.data<T>(),
                                                          .stream = ComputeStream()});
      });
      const Tensor expected = Back(x).Clone();
      for (int64_t b = 0; b < batch; ++b) {
        double* row = expected.data<double>() + b * n;
        double squares = 0;
        for (int64_t i = 0; i < n; ++i) squares += row[i] * row[i];
        for (int64_t i = 0; i < n; ++i) row[i] /= std::sqrt(squares) + 1e-7;
      }
      EXPECT_LE(RelativeRmsError(Back(y), expected), d.rounding);
      EXPECT_TRUE(BitwiseEqual(y.Rows(1, 2).To(Device::kCpu), x.Rows(1, 2).To(Device::kCpu)));
    }
  }
}

}  // namespace
}  // namespace wyvern
