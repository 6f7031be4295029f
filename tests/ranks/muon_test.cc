// Muon of divided flats against Muon of whole ones, from the same gradients.
#include "trainer/optimizer/muon.h"

#include <gtest/gtest.h>

#include <map>

#include "autograd/check/op_case.h"
#include "kernels/runtime/random.h"
#include "tests/ranks/ranks.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {
namespace {

// Masters and momenta of every matrix after three updates, of which the second is skipped; of a
// divided model put together.
std::vector<std::vector<double>> TrainMatrices(Mesh* mesh, int stage, int64_t round_elements) {
  const ShardingLayout layout = mesh == nullptr ? ShardingLayout() : mesh->LayoutAt(stage);
  const auto model = Model::Create(TinyConfig(53), Device::kCpu, DType::kFloat32,
                                   /*trainable=*/true, layout);
  model->Initialize(3);
  std::vector<Muon::Target> targets;
  for (Unit& unit : model->units()) {
    if (unit.large.empty()) continue;
    const Tensor m = Tensor::ZerosLike(unit.large.master_shard());
    for (Parameter* p : unit.large.parameters()) {
      if (p->kind == ParameterKind::kMatrix) targets.push_back({p, m, 0.1});
    }
  }
  Communicator* shards = layout.sharding.group;
  const Muon muon(targets, round_elements);
  for (const int32_t finite : {1, 0, 1}) {
    for (const Muon::Target& target : targets) {
      const Parameter& p = *target.parameter;
      CaseRandom random(p.name);
      const Tensor gradient = random.Normal(p.shape, 0, 0.1).To(DType::kFloat32).Reshape({-1});
      const FlatParameters::Slice slice = p.flat->SliceOf(p);
      if (slice.size() == 0) continue;
      if (layout.sharding.count == 1) p.var.grad();
      FlatParameters::PartOf(p.flat->gradient_shard(), slice)
          .CopyFrom(gradient.Rows(slice.begin, slice.end));
    }
    muon.Step({.lr = 0.02,
               .clip = Tensor::FromVector<float>({0.5f}, {1}),
               .finite = Tensor::FromVector<int32_t>({finite}, {1})});
  }
  std::vector<std::vector<double>> result;
  for (const Muon::Target& target : targets) {
    const FlatParameters& flat = *target.parameter->flat;
    for (const Tensor& shard : {flat.master_shard(), target.m}) {
      Tensor whole = shard;
      if (shards != nullptr) {
        whole = Tensor::Empty({flat.num_elements()}, shard.dtype(), Device::kCpu);
        shards->AllGather(shard.raw(), whole.raw(), flat.shard_size(), shard.dtype()).Wait();
      }
      const int64_t begin = flat.OffsetOf(*target.parameter);
      result.push_back(whole.Rows(begin, begin + NumElements(target.parameter->shape))
                           .To(DType::kFloat64)
                           .ToVector<double>());
    }
  }
  return result;
}

// Partitioned experts likewise, by name; a rank's part of each, and where it begins in all of it.
using Parts = std::map<std::string, std::pair<int64_t, std::vector<float>>>;

Parts TrainExperts(const ModelConfig& config, const ShardingLayout& layout,
                   int64_t round_elements) {
  const auto model =
      Model::Create(config, Device::kCpu, DType::kFloat32, /*trainable=*/true, layout);
  model->Initialize(3);
  std::vector<Muon::Target> targets;
  for (Unit& unit : model->units()) {
    for (FlatParameters* flat : unit.flats()) {
      const Tensor m = Tensor::ZerosLike(flat->master_shard());
      for (Parameter* p : flat->parameters()) {
        if (p->kind == ParameterKind::kExperts) targets.push_back({p, m, 0.1});
      }
    }
  }
  const auto begin_of = [](const Parameter& p) {
    return p.first_slice * (NumElements(p.shape) / p.shape[0]) + p.flat->SliceOf(p).begin;
  };
  const Muon muon(targets, round_elements);
  for (int step = 0; step < 2; ++step) {
    for (const Muon::Target& target : targets) {
      const Parameter& p = *target.parameter;
      CaseRandom random(p.name);
      const Tensor gradient = random.Normal(p.whole_shape, 0, 0.1).To(DType::kFloat32);
      const FlatParameters::Slice slice = p.flat->SliceOf(p);
      if (slice.size() == 0) continue;
      if (!p.flat->sharding().masters()) p.var.grad();
      FlatParameters::PartOf(p.flat->gradient_shard(), slice)
          .CopyFrom(gradient.Reshape({-1}).Rows(begin_of(p), begin_of(p) + slice.size()));
    }
    muon.Step({.lr = 0.02,
               .clip = Tensor::FromVector<float>({0.5f}, {1}),
               .finite = Tensor::FromVector<int32_t>({1}, {1})});
  }
  Parts parts;
  for (const Muon::Target& target : targets) {
    const Parameter& p = *target.parameter;
    const FlatParameters::Slice slice = p.flat->SliceOf(p);
    if (slice.size() == 0) continue;
    const auto part = [&](const Tensor& shard) {
      return FlatParameters::PartOf(shard, slice).ToVector<float>();
    };
    parts[p.name] = {begin_of(p), part(p.flat->master_shard())};
    parts[p.name + "/m"] = {begin_of(p), part(target.m)};
  }
  return parts;
}

TEST(MuonRanks, ExpertsOfEveryCopyAreUpdatedAsThoseOfOneProcessBitForBit) {
  const int64_t n = TheWorld().size();
  if (n < 4) GTEST_SKIP() << "one copy of each expert";
  ModelConfig config = TinyConfig(53);
  // With 8 experts each replica has whole matrices in its shard; with 6, one is in both.
  for (const int64_t num_experts : {8, 6}) {
    config.moe = MoeConfig{.num_experts = num_experts, .intermediate_size = 20, .groups = 2};
    config.moe->experts_per_token = config.moe->top_groups = 2;
    const Parts expected = TrainExperts(config, {}, Muon::kRoundElements);
    for (const MeshShape& shape : {MeshShape{1, 4, 1, 2}, MeshShape{2, 2, 1, 2}}) {
      auto mesh = Mesh::Create(&TheWorld(), shape, Device::kCpu);
      ASSERT_TRUE(mesh.ok()) << mesh.status();
      for (const int64_t round_elements : {Muon::kRoundElements, int64_t{1500}}) {
        const ShardingLayout layout = (*mesh)->LayoutAt(1);
        ASSERT_EQ(layout.expert_sharding.count, 2);
        for (const auto& [name, part] : TrainExperts(config, layout, round_elements)) {
          const auto& [begin, values] = part;
          const std::vector<float>& whole = expected.at(name).second;
          ASSERT_EQ(values,
                    std::vector<float>(whole.begin() + begin,
                                       whole.begin() + begin + static_cast<int64_t>(values.size())))
              << name;
        }
      }
    }
  }
}

TEST(MuonRanks, DividedMatricesAreUpdatedAsWholeOnesBitForBit) {
  const int64_t n = TheWorld().size();
  const auto expected = TrainMatrices(nullptr, 1, Muon::kRoundElements);
  for (const MeshShape& shape : {MeshShape{1, n}, MeshShape{-1, n == 4 ? 2 : n}}) {
    auto mesh = Mesh::Create(&TheWorld(), shape, Device::kCpu);
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    for (const int stage : {1, 3}) {
      // One round, and rounds of a few matrices.
      for (const int64_t round_elements : {Muon::kRoundElements, int64_t{4000}}) {
        EXPECT_EQ(TrainMatrices(mesh->get(), stage, round_elements), expected)
            << stage << " " << round_elements;
      }
    }
  }
}

}  // namespace
}  // namespace wyvern
