#include "layers/parameter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "autograd/check/op_check.h"
#include "layers/mixers/delta/delta_config.h"
#include "tests/layers/tiny_models.h"

namespace wyvern {
namespace {

std::map<std::string, std::vector<double>> Values(Model* model) {
  std::map<std::string, std::vector<double>> values;
  for (const Parameter* p : model->parameters()) {
    values[p->name] = p->value.To(DType::kFloat64).ToVector<double>();
  }
  return values;
}

ModelConfig HybridModel() { return TinyModelNamed("hybrid"); }

TEST(Parameter, NamesAreDottedAndDistinct) {
  const auto model = Model::Create(HybridModel(), Device::kCpu, DType::kFloat32);
  std::set<std::string> names;
  for (const Parameter* p : model->parameters()) {
    EXPECT_TRUE(names.insert(p->name).second) << p->name;
  }
  for (const char* name :
       {"embedding.weight", "head.weight", "final_norm.weight", "blocks.0.mixer_norm.weight",
        "blocks.0.mixer.q_conv.weight", "blocks.1.mixer.k_proj.weight", "blocks.2.mixer.a_log",
        "blocks.2.mixer.decay_proj.weight", "blocks.4.mixer.decay_down.weight",
        "blocks.4.mixer.gate_up.bias", "blocks.4.mlp.down_proj.weight"}) {
    EXPECT_EQ(names.count(name), 1u) << name;
  }
}

TEST(Parameter, InitialValuesAreAFunctionOfSeedAndName) {
  const auto a = Model::Create(HybridModel(), Device::kCpu, DType::kFloat64);
  const auto b = Model::Create(HybridModel(), Device::kCpu, DType::kFloat64, false);
  const auto fp32 = Model::Create(HybridModel(), Device::kCpu, DType::kFloat32);
  a->Initialize(7);
  b->Initialize(7);
  fp32->Initialize(7);
  const auto first = Values(a.get()), rounded = Values(fp32.get());
  EXPECT_EQ(first, Values(b.get()));
  for (const auto& [name, values] : first) {
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(static_cast<float>(values[i]), rounded.at(name)[i]) << name;
    }
  }
  b->Initialize(8);
  const auto other = Values(b.get());
  EXPECT_NE(first.at("blocks.0.mixer.q_proj.weight"), other.at("blocks.0.mixer.q_proj.weight"));
  EXPECT_NE(first.at("blocks.0.mixer.q_proj.weight"), first.at("blocks.0.mixer.k_proj.weight"));
}

TEST(Parameter, TheGpuDrawsTheSameInitialValues) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  const auto cpu = Model::Create(HybridModel(), Device::kCpu, DType::kFloat32);
  const auto cuda = Model::Create(HybridModel(), Device::kCuda, DType::kBf16);
  cpu->Initialize(7);
  cuda->Initialize(7);
  const std::vector<Parameter*> expected = cpu->parameters(), actual = cuda->parameters();
  ASSERT_EQ(expected.size(), actual.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto a = expected[i]->master.ToVector<float>(), b = actual[i]->master.ToVector<float>();
    // Their fp64 numbers may differ in the last bits, and so round to neighbours.
    for (size_t j = 0; j < a.size(); ++j) ASSERT_FLOAT_EQ(a[j], b[j]) << expected[i]->name;
    EXPECT_TRUE(BitwiseEqual(actual[i]->value, actual[i]->master.To(actual[i]->value.dtype())));
  }
}

TEST(Parameter, MatricesOfOneInputLieOneAfterAnother) {
  const auto model = Model::Create(HybridModel(), Device::kCpu, DType::kFloat32);
  std::map<std::string, const Parameter*> all;
  for (const Parameter* p : model->parameters()) all[p->name] = p;
  const auto follows = [&](const std::string& first, const std::string& second) {
    const Parameter *a = all.at(first), *b = all.at(second);
    EXPECT_EQ(a->value.data<float>() + a->value.numel(), b->value.data<float>()) << second;
    EXPECT_EQ(a->grad.data<float>() + a->grad.numel(), b->grad.data<float>()) << second;
  };
  follows("blocks.0.mixer.q_proj.weight", "blocks.0.mixer.k_proj.weight");
  follows("blocks.0.mixer.k_conv.weight", "blocks.0.mixer.v_conv.weight");
  follows("blocks.0.mlp.gate_proj.weight", "blocks.0.mlp.up_proj.weight");
  follows("blocks.2.mixer.decay_proj.weight", "blocks.2.mixer.beta_proj.weight");
  follows("blocks.4.mixer.v_proj.weight", "blocks.4.mixer.gate_down.weight");
  Parameter a, b;
  a.shape = {3, 4};
  b.shape = {3, 5};
  EXPECT_DEATH(ParameterGroup::Of({&a, &b}), "in a group with");
}

TEST(Parameter, InitialValuesFollowTheFamilies) {
  ModelConfig m = TinyModel(
      {DeltaMixerConfig{
           .decay = DeltaDecay::kPerHead, .num_heads = 64, .key_dim = 4, .value_dim = 4},
       DeltaMixerConfig{
           .decay = DeltaDecay::kPerChannel, .num_heads = 64, .key_dim = 4, .value_dim = 4},
       DeltaMixerConfig{.decay = DeltaDecay::kPerChannel,
                        .num_heads = 2,
                        .key_dim = 4,
                        .value_dim = 4,
                        .gate_lower_bound = -5}});
  m.hidden_size = 64;
  m.initializer_range = 0.02;
  const auto model = Model::Create(m, Device::kCpu, DType::kFloat64);
  model->Initialize(1);
  const auto values = Values(model.get());
  const auto within = [&](const std::string& name, double low, double high, auto transform) {
    double lowest = 1e300, highest = -1e300;
    for (const double x : values.at(name)) {
      lowest = std::min(lowest, transform(x));
      highest = std::max(highest, transform(x));
    }
    EXPECT_GE(lowest, low) << name;
    EXPECT_LE(highest, high) << name;
    EXPECT_GT(highest - lowest, 0.8 * (high - low)) << name;  // and it spreads over the range
  };
  const auto exp = [](double x) { return std::exp(x); };
  const auto log_softplus = [](double x) { return std::log(std::log1p(std::exp(x))); };
  within("blocks.0.mixer.a_log", 0, 16 + 1e-12, exp);
  within("blocks.1.mixer.a_log", 1, 16 + 1e-12, exp);
  within("blocks.0.mixer.dt_bias", std::log(0.001) - 1e-9, std::log(0.1), log_softplus);
  within("blocks.1.mixer.dt_bias", std::log(0.001) - 1e-9, std::log(0.1), log_softplus);
  EXPECT_EQ(values.at("blocks.2.mixer.a_log"), std::vector<double>(2, 0.0));
  EXPECT_EQ(values.at("blocks.0.mlp_norm.weight"), std::vector<double>(64, 1.0));
  for (const char* name : {"blocks.0.mixer.q_proj.weight", "blocks.1.mixer.k_conv.weight"}) {
    double sum = 0, squares = 0;
    for (const double x : values.at(name)) sum += x, squares += x * x;
    const double n = static_cast<double>(values.at(name).size());
    EXPECT_NEAR(sum / n, 0, 4 * 0.02 / std::sqrt(n)) << name;
    EXPECT_NEAR(std::sqrt(squares / n), 0.02, 4 * 0.02 / std::sqrt(2 * n)) << name;
  }
}

TEST(Parameter, AssignConvertsAndChecksTheShape) {
  const auto model = Model::Create(HybridModel(), Device::kCpu, DType::kFloat32);
  const Parameter* p = model->parameters().front();
  Tensor from = Tensor::Empty(p->value.shape(), DType::kFloat64, Device::kCpu);
  for (int64_t i = 0; i < from.numel(); ++i) from.data<double>()[i] = 0.1 * i;
  p->Assign(from);
  EXPECT_EQ(p->value.data<float>()[3], static_cast<float>(0.1 * 3));
  EXPECT_DEATH(p->Assign(Tensor::Zeros({3}, DType::kFloat32, Device::kCpu)), "cannot copy");
}

}  // namespace
}  // namespace wyvern
