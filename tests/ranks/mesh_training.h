// Shared by the tests of training on every mesh: one process, and the ranks of a mesh, train the
// same model on the same batches, and the results are compared.
//
// A test's Case has at least mesh, stage, recomputed, micro_batches, dtype, device and recompute.
#ifndef WYVERN_TESTS_RANKS_MESH_TRAINING_H_
#define WYVERN_TESTS_RANKS_MESH_TRAINING_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/ranks/ranks.h"
#include "trainer/loop/train_step.h"

namespace wyvern {

template <class Case>
std::string DescribeMesh(const Case& c) {
  return absl::StrCat("replicate ", c.mesh.replicate, ", shard ", c.mesh.shard, ", context ",
                      c.mesh.context, ", expert ", c.mesh.expert, ", ZeRO stage ", c.stage, ", ",
                      c.recomputed, " blocks recomputed, ", c.micro_batches, " micro batches");
}

// Micro batches of a step, of all data-parallel ranks.
template <class Case>
int64_t BatchesPerStep(const Case& c) {
  return c.mesh.replicate * c.mesh.shard * c.micro_batches;
}

// Who trains: one process, or a rank of a mesh.
struct Trainee {
  Model* model = nullptr;
  DataParallel* parallel = nullptr;  // null: one process
  int64_t readers = 1, index = 0;

  const Mesh* mesh() const { return parallel == nullptr ? nullptr : &parallel->mesh(); }
  // This rank's share of the `count` batches from make(first) on.
  template <class Make>
  std::vector<Batch> Batches(int64_t first, int64_t count, const Make& make) const {
    std::vector<Batch> batches;
    for (int64_t i = index; i < count; i += readers) batches.push_back(make(first + i));
    return batches;
  }
};

// The same start for all.
template <class Case>
void StartTraining(const Case& c, Model* model) {
  model->Initialize(5);
  model->RecomputeBlocks(c.recomputed);
  model->SetRecompute(c.recompute);
}

// The figures of every step.
struct Course {
  std::vector<double> losses, norms;

  void Add(const StepResult& result) {
    EXPECT_TRUE(result.updated);
    losses.push_back(result.loss);
    norms.push_back(result.grad_norm);
  }
};

// train(trainee) of one process, once for all cases that are equal.
template <class Case, class Train>
auto TrainAlone(const Case& alone, const ModelConfig& config, const Train& train) -> const
    decltype(train(Trainee()))& {
  static std::deque<std::pair<Case, decltype(train(Trainee()))>> outcomes;
  for (const auto& [known, outcome] : outcomes) {
    if (known == alone) return outcome;
  }
  const auto model = Model::Create(config, alone.device, alone.dtype);
  outcomes.emplace_back(alone, train({.model = model.get()}));
  return outcomes.back().second;
}

// train(trainee) of this rank.
template <class Case, class Train>
auto TrainOnMesh(const Case& c, const ModelConfig& config, const Train& train) {
  auto mesh = Mesh::Create(&TheWorld(), c.mesh, c.device);
  CHECK(mesh.ok(), std::string(mesh.status().message()));
  const auto model =
      Model::Create(config, c.device, c.dtype, /*trainable=*/true, (*mesh)->LayoutAt(c.stage));
  EXPECT_EQ(model->num_parameters(), CountParameters(config));
  DataParallel parallel(model.get(), mesh->get());
  return train({.model = model.get(),
                .parallel = &parallel,
                .readers = (*mesh)->num_data_ranks(),
                .index = (*mesh)->data_index()});
}

inline std::vector<double> Doubles(const Tensor& t) {
  return t.To(Device::kCpu).To(DType::kFloat64).ToVector<double>();
}

// Elements of a parameter, from element `begin` on: all, or what a rank has.
struct Part {
  int64_t begin = 0;
  std::vector<double> values;

  bool operator==(const Part&) const = default;
};
using Parts = std::map<std::string, Part>;  // by the parameters' names

// The error of a part, relative to the norm of the whole.
inline double RelativeError(const Part& part, const Part& whole) {
  double difference = 0, norm = 0;
  for (const double x : whole.values) norm += x * x;
  for (size_t i = 0; i < part.values.size(); ++i) {
    const double d = part.values[i] - whole.values.at(static_cast<size_t>(part.begin) + i);
    difference += d * d;
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

// Compares the losses and the first `num_norms` norms.
inline void ExpectSameCourse(const Course& got, const Course& expected, size_t num_norms,
                             double tolerance, double norm_tolerance) {
  ASSERT_EQ(got.losses.size(), expected.losses.size());
  for (size_t step = 0; step < expected.losses.size(); ++step) {
    EXPECT_NEAR(got.losses[step] / expected.losses[step], 1, tolerance) << "step " << step + 1;
    if (step >= num_norms) continue;
    EXPECT_NEAR(got.norms[step] / expected.norms[step], 1, norm_tolerance) << "step " << step + 1;
  }
}

// `expected` are whole. With `exact` a part may also differ by twice what `expected` does from it:
// two that are rounded otherwise.
inline void ExpectSameParts(const Parts& got, const Parts& expected, double tolerance,
                            const Parts* exact = nullptr) {
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [name, whole] : expected) {
    const double rounding = exact == nullptr ? 0 : RelativeError(whole, exact->at(name));
    EXPECT_LE(RelativeError(got.at(name), whole), std::max(tolerance, 2 * rounding)) << name;
  }
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_RANKS_MESH_TRAINING_H_
