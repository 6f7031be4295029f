// Tests of the vocabulary head alone: every division into slices and groups gives the
// gradients of the plain formula, asked for together and one at a time, and takes the memory that
// is planned for it.
#include "autograd/ops/head/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "autograd/check/op_check.h"

namespace wyvern {
namespace {

using Op = LinearCrossEntropy;

// Loss and gradients by their definition, in fp64.
struct Reference {
  Tensor loss, token_loss, d_x, d_weight;

  Reference(const Op::Inputs<Tensor>& in, const Op::Params& params, double d_loss,
            const Tensor& d_token_loss) {
    const int64_t T = in.x.dim(0), D = in.x.dim(1), V = in.weight.dim(0);
    const auto zeros = [](Shape shape) {
      return Tensor::Zeros(std::move(shape), DType::kFloat64, Device::kCpu);
    };
    loss = zeros({1});
    token_loss = zeros({T});
    d_x = zeros({T, D});
    d_weight = zeros({V, D});
    const double* W = in.weight.data<double>();
    for (int64_t t = 0; t < T; ++t) {
      const int32_t target = params.targets.data<int32_t>()[t];
      if (target < 0) continue;
      const double* x = in.x.data<double>() + t * D;
      std::vector<double> p(V);
      double sum = 0;
      for (int64_t v = 0; v < V; ++v) {
        double logit = 0;
        for (int64_t i = 0; i < D; ++i) logit += x[i] * W[v * D + i];
        sum += p[v] = std::exp(logit);
      }
      token_loss.data<double>()[t] = -std::log(p[target] / sum);
      *loss.data<double>() += token_loss.data<double>()[t] / params.denominator;
      double d = d_loss / params.denominator;
      if (d_token_loss.defined()) d += d_token_loss.data<double>()[t];
      for (int64_t v = 0; v < V; ++v) {
        const double d_logit = (p[v] / sum - (v == target ? 1 : 0)) * d;
        for (int64_t i = 0; i < D; ++i) {
          d_x.data<double>()[t * D + i] += d_logit * W[v * D + i];
          d_weight.data<double>()[v * D + i] += d_logit * x[i];
        }
      }
    }
  }
};

struct Division {
  int64_t T, slice_rows, group_rows;
};

constexpr Division kDivisions[] = {
    {23, 4, 4},     // a slice a group
    {24, 4, 8},     // two
    {23, 4, 8},     // the last one short
    {23, 3, 10},    // whose last slices are short
    {23, 4, 0},     // by the width
    {23, 5, 1000},  // all in one
    {5, 8, 16},     // fewer rows than a slice
    {1, 1, 1},     {0, 4, 8},
};
constexpr Op::Inputs<bool> kWanted[] = {{true, true}, {true, false}, {false, true}};

// The inputs and requests of one comparison; tensors in fp64 on the CPU.
struct Setting {
  Op::Inputs<Tensor> in;
  Op::Params params;
  Op::Inputs<bool> wanted = {true, true};
  Tensor d_loss, d_token_loss;  // the latter undefined: a gradient of the mean alone
  Tensor before;                // what the weight's gradient is added to, or undefined
};

OpRun<Op> RunOn(Device device, DType io, const Setting& s) {
  const auto on = [&](const Tensor& t, DType dtype) { return ToTypeOn(t, dtype, device); };
  Op::Saved saved;
  saved.wanted = s.wanted;
  OpRun<Op> run;
  run.out = Op::Forward({.x = on(s.in.x, io), .weight = on(s.in.weight, io)},
                        ParamsOn<Op>(s.params, device), &saved);
  Op::Inputs<GradRequest> want;
  want.x.wanted = s.wanted.x;
  want.weight.wanted = s.wanted.weight;
  if (s.wanted.weight && s.before.defined()) {
    want.weight.into = on(s.before, AccDType(io)).Clone();
  }
  const DType acc = AccDType(io);
  run.grad =
      Op::Backward(saved, {.loss = on(s.d_loss, acc), .token_loss = on(s.d_token_loss, acc)}, want);
  if (want.weight.into.defined()) run.grad.weight = want.weight.into;
  return run;
}

void ExpectPlain(Device device, DType io, double limit, const Setting& s) {
  const OpRun<Op> run = RunOn(device, io, s), again = RunOn(device, io, s);
  const Reference expected(s.in, s.params, *s.d_loss.data<double>(), s.d_token_loss);
  for (int64_t i = 0; s.before.defined() && i < s.before.numel(); ++i) {
    expected.d_weight.data<double>()[i] += s.before.data<double>()[i];
  }
  const auto check = [&](const char* name, bool wanted, const Tensor& x, const Tensor& same,
                         const Tensor& reference) {
    ASSERT_EQ(x.defined(), wanted) << name;
    if (!wanted) return;
    EXPECT_LE(RelativeRmsError(x.To(Device::kCpu).To(DType::kFloat64), reference), limit) << name;
    EXPECT_TRUE(BitwiseEqual(x, same)) << name;
  };
  check("loss", true, run.out.loss, again.out.loss, expected.loss);
  check("token_loss", true, run.out.token_loss, again.out.token_loss, expected.token_loss);
  check("d_x", s.wanted.x, run.grad.x, again.grad.x, expected.d_x);
  check("d_weight", s.wanted.weight, run.grad.weight, again.grad.weight, expected.d_weight);
  const auto alone =
      Op::Forward({.x = ToTypeOn(s.in.x, io, device), .weight = ToTypeOn(s.in.weight, io, device)},
                  ParamsOn<Op>(s.params, device), nullptr);
  for (const auto& [value, reference] :
       {std::pair(alone.loss, expected.loss), std::pair(alone.token_loss, expected.token_loss)}) {
    EXPECT_LE(RelativeRmsError(value.To(Device::kCpu).To(DType::kFloat64), reference), limit)
        << "without gradients";
  }
}

class LinearCrossEntropyDivided : public testing::TestWithParam<Device> {};

TEST_P(LinearCrossEntropyDivided, GivesThePlainGradients) {
  const Device device = GetParam();
  std::string why;
  if (device == Device::kCuda && !CudaAvailable(&why)) GTEST_SKIP() << why;
  const DType io = device == Device::kCuda ? DType::kBf16 : DType::kFloat64;
  const double limit = device == Device::kCuda ? 5e-3 : 1e-12;
  constexpr int64_t kVocab = 48, kWidth = 16;
  CaseRandom random("linear_cross_entropy_test");
  const auto draw = [&](Shape shape, double stddev, DType as) {
    return random.Normal(std::move(shape), 0, stddev).To(as).To(DType::kFloat64);
  };
  SetPoison(true);
  for (const auto& [T, slice_rows, group_rows] : kDivisions) {
    Setting s = {.in = {.x = draw({T, kWidth}, 1, io), .weight = draw({kVocab, kWidth}, 0.3, io)},
                 .params = {.denominator = 3.5, .slice_rows = slice_rows, .group_rows = group_rows},
                 .d_loss = Tensor::FromVector(std::vector<double>{1.75}, {1})};
    std::vector<int32_t> targets;
    for (int64_t t = 0; t < T; ++t) {
      targets.push_back(t % 4 == 2 ? -1 : static_cast<int32_t>(random.Below(kVocab)));
    }
    s.params.targets = Tensor::FromVector(targets, {T});
    const Tensor d_token_loss = draw({T}, 1, AccDType(io));
    const Tensor before = draw({kVocab, kWidth}, 1, AccDType(io));
    for (const Op::Inputs<bool>& wanted : kWanted) {
      for (const bool mean_alone : {true, false}) {
        for (const bool into : {false, true}) {
          SCOPED_TRACE(absl::StrCat("T ", T, ", slices of ", slice_rows, ", groups of ", group_rows,
                                    ", wanted ", wanted.x, wanted.weight, ", mean alone ",
                                    mean_alone, ", into ", into));
          s.wanted = wanted;
          s.d_token_loss = mean_alone ? Tensor() : d_token_loss;
          s.before = into ? before : Tensor();
          ExpectPlain(device, io, limit, s);
        }
      }
    }
  }
  SetPoison(false);
}

INSTANTIATE_TEST_SUITE_P(Devices, LinearCrossEntropyDivided,
                         testing::Values(Device::kCpu, Device::kCuda),
                         [](const auto& info) { return std::string(Name(info.param)); });

// The memory that the forward takes at its peak beside its results.
int64_t ScratchBytes(int64_t T, int64_t V, int64_t D, bool with_gradients) {
  const Op::Inputs<Tensor> in = {.x = Tensor::Empty({T, D}, DType::kBf16, Device::kMeta),
                                 .weight = Tensor::Empty({V, D}, DType::kBf16, Device::kMeta)};
  const Op::Params params = {.targets = Tensor::Empty({T}, DType::kInt32, Device::kMeta)};
  Op::Saved saved;
  saved.wanted = {.x = with_gradients, .weight = with_gradients};
  ResetPeakBytes(Device::kMeta);
  const auto out = Op::Forward(in, params, &saved);
  const MemoryStats stats = GetMemoryStats(Device::kMeta);
  return stats.peak_bytes - stats.current_bytes;
}

TEST(LinearCrossEntropy, TakesTheMemoryThatIsPlanned) {
  struct Size {
    int64_t T, V, D, slice, group;
  };
  // Groups of many classes in the width 2,304 fill the waves of d_x; 32,000 classes need none.
  for (const Size& s : std::initializer_list<Size>{{32768, 163840, 2304, 768, 4608},
                                                   {32768, 163840, 1024, 768, 1536},
                                                   {1000, 163840, 2304, 768, 1000},
                                                   {100, 163840, 2304, 100, 100},
                                                   {32768, 32000, 2048, 4096, 4096},
                                                   {32768, 32000, 8192, 4096, 4096},
                                                   {16384, 32000, 1024, 4096, 4096},
                                                   {16384, 128256, 4096, 1024, 4096},
                                                   {0, 32000, 2048, 0, 0}}) {
    const int64_t planned =
        LinearCrossEntropySliceBytes(s.T, s.V, s.D, DType::kBf16, Device::kMeta);
    const std::string what = absl::StrCat(s.T, " x ", s.D, ", ", s.V, " classes");
    EXPECT_EQ(planned, s.slice * s.V * 4 + s.group * s.V * 2) << what;
    EXPECT_EQ(planned, ScratchBytes(s.T, s.V, s.D, true)) << what;
    EXPECT_EQ(s.slice * s.V * 4, ScratchBytes(s.T, s.V, s.D, false)) << what;
    if (s.group > s.slice) {
      EXPECT_LE(s.group * s.V * 2, s.V * s.D * 4) << what << ": more than d_weight";
    }
  }
}

TEST(LinearCrossEntropy, CountsProductsWhereTheyAreMade) {
  const Op::Inputs<Tensor> in = {.x = Tensor::Empty({6, 5}, DType::kBf16, Device::kMeta),
                                 .weight = Tensor::Empty({7, 5}, DType::kBf16, Device::kMeta)};
  constexpr double kProduct = 2.0 * 6 * 7 * 5;
  const auto forward_products = [&](bool x, bool weight) {
    const Cost cost = Op::EstimateCost(in, {}, {.x = x, .weight = weight});
    EXPECT_EQ(cost.backward_flops, 0);
    EXPECT_EQ(cost.backward_bytes, (x ? 2 * 6 * 5 * 2 : 0) + (weight ? 2 * 7 * 5 * 4 : 0));
    return cost.forward_flops / kProduct;
  };
  EXPECT_EQ(forward_products(false, false), 1);
  EXPECT_EQ(forward_products(true, false), 2);
  EXPECT_EQ(forward_products(false, true), 2);
  EXPECT_EQ(forward_products(true, true), 3);
  // The tape tells what its leaves want.
  const auto of_tape = [&](bool recording) {
    const auto values = [](Shape shape) {
      return Tensor::Zeros(shape, DType::kFloat32, Device::kCpu);
    };
    Tape tape(recording);
    tape.Apply<Op>({.x = Var::Leaf(values({6, 5})), .weight = Var(values({7, 5}))},
                   {.targets = Tensor::Zeros({6}, DType::kInt32, Device::kCpu)});
    return tape.cost().forward_flops / kProduct;
  };
  EXPECT_EQ(of_tape(true), 2);
  EXPECT_EQ(of_tape(false), 1);
}

}  // namespace
}  // namespace wyvern
