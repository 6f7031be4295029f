#include "trainer/hf/families/registry.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "absl/strings/match.h"
#include "tests/trainer/hf/hf_models.h"
#include "trainer/hf/hf_config.h"

namespace wyvern {
namespace {

TEST(HfFamilies, AreFoundByTheirModelType) {
  for (const HfFamily* family : HfFamilies()) {
    EXPECT_EQ(FindHfFamily(family->model_type), family) << family->model_type;
  }
  EXPECT_EQ(FindHfFamily("mamba"), nullptr);
  EXPECT_EQ(FindHfFamily(""), nullptr);
}

TEST(HfFamilies, TheRefusalOfAnotherModelTypeListsThem) {
  const std::string message(ReadHfConfig({{"model_type", "mamba"}}).status().message());
  for (const HfFamily* family : HfFamilies()) {
    EXPECT_TRUE(absl::StrContains(message, family->model_type)) << message;
  }
}

// The tests of this folder assert something of a family only if it has models to try.
TEST(HfFamilies, EachHasSmallModelsThatItHolds) {
  std::set<const HfFamily*> held;
  for (const auto& [name, model] : HfTestModels()) {
    const auto written = WriteHfConfig(model, {});
    ASSERT_TRUE(written.ok()) << name << ": " << written.status();
    held.insert(written->family);
  }
  for (const HfFamily* family : HfFamilies()) {
    EXPECT_EQ(held.count(family), 1u) << family->model_type << ": add one to hf_models.h";
  }
}

TEST(HfFamilies, NoTwoTensorsOfAModelHaveOneName) {
  for (const auto& [name, config] : HfTestModels()) {
    const auto written = WriteHfConfig(config, {});
    ASSERT_TRUE(written.ok()) << name << ": " << written.status();
    const std::unique_ptr<Model> model = Model::Declare(config);
    std::set<std::string> names;
    int64_t num_tensors = 0;
    const auto add = [&](const std::vector<HfTensor>& tensors, const Shape& shape) {
      int64_t num_elements = 0;
      for (const HfTensor& tensor : tensors) {
        num_elements += NumElements(tensor.shape);
        names.insert(tensor.name);
        ++num_tensors;
      }
      EXPECT_EQ(num_elements, NumElements(shape)) << name << ": " << tensors.front().name;
    };
    for (const Parameter* p : model->parameters()) {
      add(HfTensorsOf(*p, config, *written->family), p->shape);
    }
    for (const ModelBuffer* b : model->buffers()) {
      add(HfTensorsOf(*b, config, *written->family), b->shape);
    }
    EXPECT_EQ(static_cast<int64_t>(names.size()), num_tensors) << name;
  }
}

// The layers' kind is what tells these families apart: weights of one are no weights of another.
TEST(HfFamilies, AFamilyOfTheDeltaRuleRefusesAnothersLayers) {
  const std::map<std::string, std::string> models = {
      {"delta_net", "delta_net"}, {"gated_deltanet", "gated_plain"}, {"kda", "kda"}};
  for (const auto& [own, model] : models) {
    for (const auto& [other, unused] : models) {
      const auto written = WriteHfConfig(HfTestModelNamed(model), {.family = FindHfFamily(other)});
      EXPECT_EQ(written.ok(), own == other) << model << " as " << other;
      if (own == other) continue;
      EXPECT_TRUE(absl::StrContains(written.status().message(), "its delta-rule layers are "))
          << written.status();
    }
  }
}

}  // namespace
}  // namespace wyvern
