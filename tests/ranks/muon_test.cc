// Muon of divided flats against Muon of whole ones, from the same gradients.
#include "trainer/muon.h"

#include <gtest/gtest.h>

#include "autograd/op_case.h"
#include "kernels/runtime/random.h"
#include "tests/ranks/ranks.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {
namespace {

// Masters and momenta of every matrix after three updates, of which the second is skipped; of a
// divided model put together.
std::vector<std::vector<double>> TrainMatrices(Mesh* mesh, int level, int64_t round_elements) {
  const Division division = mesh == nullptr ? Division() : mesh->Divide(level);
  const auto model = Model::Create(TinyConfig(53), Device::kCpu, DType::kFloat32,
                                   /*trainable=*/true, division);
  model->Initialize(3);
  std::vector<Muon::Target> targets;
  for (Unit& unit : model->units()) {
    if (unit.large.empty()) continue;
    const Tensor m = Tensor::ZerosLike(unit.large.master_shard());
    for (Parameter* p : unit.large.parameters()) {
      if (p->kind == ParameterKind::kMatrix) targets.push_back({p, m, 0.1});
    }
  }
  Communicator* shards = division.sharding.group;
  const Muon muon(targets, round_elements);
  for (const int32_t finite : {1, 0, 1}) {
    for (const Muon::Target& target : targets) {
      const Parameter& p = *target.parameter;
      CaseRandom random(p.name);
      const Tensor gradient = random.Normal(p.shape, 0, 0.1).To(DType::kFloat32).Reshape({-1});
      const FlatParameters::Piece piece = p.flat->PieceOf(p);
      if (piece.size() == 0) continue;
      if (division.sharding.count == 1) p.var.grad();
      FlatParameters::PartOf(p.flat->gradient_shard(), piece)
          .CopyFrom(gradient.Rows(piece.begin, piece.end));
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

TEST(MuonRanks, DividedMatricesAreUpdatedAsWholeOnesBitForBit) {
  const int64_t n = TheWorld().size();
  const auto expected = TrainMatrices(nullptr, 1, Muon::kRoundElements);
  for (const MeshShape& shape : {MeshShape{1, n}, MeshShape{-1, n == 4 ? 2 : n}}) {
    auto mesh = Mesh::Create(&TheWorld(), shape, Device::kCpu);
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    for (const int level : {1, 3}) {
      // One round, and rounds of a few matrices.
      for (const int64_t round_elements : {Muon::kRoundElements, int64_t{4000}}) {
        EXPECT_EQ(TrainMatrices(mesh->get(), level, round_elements), expected)
            << level << " " << round_elements;
      }
    }
  }
}

}  // namespace
}  // namespace wyvern
