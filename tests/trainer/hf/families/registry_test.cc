#include "trainer/hf/families/registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
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
    for (const HfFamily* family : HfFamilies()) {
      const bool by_name_only = *family->mixer_type == '\0';
      if (by_name_only && WhyNotAs(*family, model).empty()) held.insert(family);
    }
  }
  for (const HfFamily* family : HfFamilies()) {
    EXPECT_EQ(held.count(family), 1u) << family->model_type << ": add one to hf_models.h";
  }
}

// Rows, and slices, of a tensor that parameters of the model claim.
struct Claimed {
  Shape shape;
  std::vector<int64_t> rows;
};

TEST(HfFamilies, EachRowOfATensorBelongsToOneParameter) {
  for (const auto& [name, config] : HfTestModels()) {
    const auto written = WriteHfConfig(config, {});
    ASSERT_TRUE(written.ok()) << name << ": " << written.status();
    const std::unique_ptr<Model> model = Model::Declare(config);
    std::map<std::string, Claimed> tensors;
    const auto add = [&, name = name](const std::vector<HfTensor>& parts, const Shape& shape) {
      int64_t num_elements = 0;
      for (const HfTensor& tensor : parts) {
        Claimed& claimed = tensors[tensor.name];
        if (claimed.rows.empty()) claimed.shape = tensor.shape;
        EXPECT_EQ(claimed.shape, tensor.shape) << name << ": " << tensor.name;
        std::vector<int64_t> rows = tensor.rows;
        if (rows.empty()) {
          rows.resize(static_cast<size_t>(tensor.shape[0]));
          std::iota(rows.begin(), rows.end(), 0);
        }
        num_elements +=
            static_cast<int64_t>(rows.size()) * NumElements(tensor.shape) / tensor.shape[0];
        claimed.rows.insert(claimed.rows.end(), rows.begin(), rows.end());
      }
      return num_elements == NumElements(shape);
    };
    for (const Parameter* p : model->parameters()) {
      EXPECT_TRUE(add(HfTensorsOf(*p, config, *written->family), p->shape)) << name << p->name;
    }
    for (const ModelBuffer* b : model->buffers()) {
      const std::vector<HfTensor> parts = HfTensorsOf(*b, config, *written->family);
      EXPECT_TRUE(parts.empty() || add(parts, b->shape)) << name << b->name;
    }
    for (auto& [tensor, claimed] : tensors) {
      std::sort(claimed.rows.begin(), claimed.rows.end());
      std::vector<int64_t> all(static_cast<size_t>(claimed.shape[0]));
      std::iota(all.begin(), all.end(), 0);
      EXPECT_EQ(claimed.rows, all) << name << ": " << tensor;
    }
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
      EXPECT_TRUE(absl::StrContains(written.status().message(), " as delta-rule layers"))
          << written.status();
    }
  }
}

// Said of no one, "no window" may be the family's or the model's.
TEST(HfFamilies, EveryReasonSaysWhatTheFamilyNeedsOrIsAFactOfTheModel) {
  int num_needs = 0;
  for (const std::string& name : HfTestModelNames()) {
    const ModelConfig model = HfTestModelNamed(name);
    for (const HfFamily* family : HfFamilies()) {
      for (const std::string& reason : WhyNotAs(*family, model)) {
        const bool is_need = absl::StartsWith(reason, "needs "),
                   is_fact =
                       absl::StartsWith(reason, "layer ") || reason == "all layers are attention";
        EXPECT_TRUE(is_need || is_fact) << name << " as " << family->model_type << ": " << reason;
        num_needs += is_need ? 1 : 0;
      }
    }
  }
  EXPECT_GT(num_needs, 0);
}

}  // namespace
}  // namespace wyvern
