// A training state whose every element is known.
#ifndef WYVERN_TESTS_TRAINER_STATE_CHECKS_H_
#define WYVERN_TESTS_TRAINER_STATE_CHECKS_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/checkpoint/sharded_state.h"

namespace wyvern {

// The value of element `index` of a tensor: exact in fp32.
inline float ElementOf(const std::string& name, int64_t index) {
  uint32_t x = 2166136261u;
  for (const char c : name) x = (x ^ static_cast<uint8_t>(c)) * 16777619u;
  x = (x + static_cast<uint32_t>(index)) * 2654435761u;
  return static_cast<float>(x >> 8);
}

// Writes that into what this rank has of the state.
inline void FillState(const Optimizer& optimizer) {
  for (const TensorPart& part : StateParts(optimizer)) {
    if (!part.values.defined()) continue;
    std::vector<float> values;
    for (int64_t i = 0; i < part.values.numel(); ++i) {
      values.push_back(ElementOf(part.tensor.name, part.begin + i));
    }
    part.values.CopyFrom(Tensor::FromVector(values, part.values.shape()));
  }
}

// This rank's part of the state, by name.
template <typename T>
std::map<std::string, std::vector<T>> ValuesOf(const Optimizer& optimizer) {
  std::map<std::string, std::vector<T>> values;
  for (const TensorPart& part : StateParts(optimizer)) {
    if (part.values.defined()) values[part.tensor.name] = part.values.ToVector<T>();
  }
  return values;
}

inline void ExpectState(const Optimizer& optimizer) {
  int64_t num_elements = 0;
  for (const TensorPart& part : StateParts(optimizer)) {
    if (!part.values.defined()) continue;
    const std::vector<float> values = part.values.ToVector<float>();
    num_elements += part.values.numel();
    for (size_t i = 0; i < values.size(); ++i) {
      const float expected = ElementOf(part.tensor.name, part.begin + static_cast<int64_t>(i));
      ASSERT_EQ(values[i], expected) << part.tensor.name << " at " << part.begin + i;
    }
  }
  EXPECT_GT(num_elements, 0);
}

// The state that a run keeps of its model on one rank of a mesh.
struct RankState {
  RankState(World* world, const MeshShape& shape, int stage,
            const ModelConfig& config = TinyConfig(53)) {
    auto created = Mesh::Create(world, shape, Device::kCpu);
    CHECK(created.ok(), std::string(created.status().message()));
    mesh = *std::move(created);
    model = Model::Create(config, Device::kCpu, DType::kFloat32, /*trainable=*/true,
                          mesh->LayoutAt(stage));
    optimizer = std::make_unique<Optimizer>(model.get(), OptimizerSection());
  }
  std::unique_ptr<Mesh> mesh;
  std::unique_ptr<Model> model;
  std::unique_ptr<Optimizer> optimizer;
};

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_STATE_CHECKS_H_
