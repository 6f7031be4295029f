// Who orthogonalises which matrix.
#include "trainer/optimizer/muon_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>

#include "trainer/optimizer/newton_schulz.h"

namespace wyvern {
namespace {

TEST(MuonPlan, CountsTheMatricesOfLeadingAxes) {
  const MatrixShape experts = MatricesOf({8, 16, 32});
  EXPECT_EQ(experts.count, 8);
  EXPECT_EQ(experts.rows, 16);
  EXPECT_EQ(experts.columns, 32);
  EXPECT_EQ(MatricesOf({16, 32}).count, 1);
}

// Two units of parameters in flats that are divided over `ranks`.
struct Flats {
  explicit Flats(int64_t ranks) : flats(2) {
    const std::vector<Shape> shapes = {{40, 24}, {24, 40}, {16, 24}, {6, 12, 20}, {24, 24}};
    for (FlatParameters& flat : flats) {
      std::vector<Parameter*> members;
      for (const Shape& shape : shapes) {
        parameters.push_back(std::make_unique<Parameter>());
        parameters.back()->shape = shape;
        members.push_back(parameters.back().get());
      }
      flat.Allocate(members, DType::kFloat32, DType::kFloat32, Device::kCpu, true,
                    {.index = 0, .count = ranks, .stage = 1});
      all.insert(all.end(), members.begin(), members.end());
    }
  }
  std::vector<FlatParameters> flats;
  std::vector<std::unique_ptr<Parameter>> parameters;
  std::vector<const Parameter*> all;
};

TEST(MuonPlan, GivesEveryMatrixToOneOwnerAndItsPiecesToTheRanks) {
  for (const int ranks : {1, 2, 3, 4, 16}) {
    const Flats flats(ranks);
    for (const int64_t max_elements : {int64_t{1}, int64_t{2000}, int64_t{1} << 30}) {
      std::map<std::pair<const Parameter*, int64_t>, int> seen;
      for (const MuonRound& round : PlanMuon(flats.all, ranks, max_elements)) {
        int64_t elements = 0, last_owner = 0;
        for (const MuonMatrix& m : round) {
          ++seen[{m.parameter, m.index}];
          elements += m.num_elements();
          EXPECT_GE(m.owner, last_owner);
          EXPECT_LT(m.owner, ranks);
          last_owner = m.owner;
          int64_t end = 0;
          for (int rank = 0; rank < ranks; ++rank) {
            const MuonMatrix::Range range = m.RangeOn(rank);
            if (range.size() == 0) continue;
            EXPECT_EQ(range.begin, end);
            end = range.end;
          }
          EXPECT_EQ(end, m.num_elements());
        }
        if (round.size() > 1) {
          EXPECT_LE(elements, max_elements * ranks);
        }
      }
      EXPECT_EQ(seen.size(), 2u * (4 + 6));
      for (const auto& [matrix, count] : seen) EXPECT_EQ(count, 1);
    }
  }
}

// Experts that the shards hold whole stay there, in rounds of as many of each: nothing is sent.
TEST(MuonPlan, LeavesWholeMatricesWhereTheyAre) {
  constexpr int kRanks = 4;
  std::vector<FlatParameters> flats(3);
  std::vector<std::unique_ptr<Parameter>> parameters;
  std::vector<const Parameter*> all;
  for (FlatParameters& flat : flats) {
    std::vector<Parameter*> members;
    for (const Shape& shape : {Shape{8, 16, 24}, Shape{8, 16, 24}, Shape{8, 24, 16}}) {
      parameters.push_back(std::make_unique<Parameter>());
      parameters.back()->shape = shape;
      members.push_back(parameters.back().get());
    }
    flat.Allocate(members, DType::kFloat32, DType::kFloat32, Device::kCpu, true,
                  {.index = 0, .count = kRanks, .stage = 1});
    all.insert(all.end(), members.begin(), members.end());
  }
  // Everything; one flat and a part of another; a part of a flat.
  for (const int64_t matrices : {100, 8, 2}) {
    const auto rounds = PlanMuon(all, kRanks, matrices * 16 * 24);
    EXPECT_EQ(rounds.size(), matrices == 100 ? 1u : matrices == 8 ? 3u : 9u);
    for (const MuonRound& round : rounds) {
      std::vector<size_t> count(kRanks);
      for (const MuonMatrix& m : round) {
        EXPECT_EQ(m.RangeOn(m.owner).size(), m.num_elements());
        ++count[static_cast<size_t>(m.owner)];
      }
      EXPECT_EQ(count, std::vector<size_t>(kRanks, round.size() / kRanks));
    }
  }
}

// The costliest goes first, to whoever has most of it or least to do: no rank has more than the
// mean and one matrix.
TEST(MuonPlan, BalancesTheCost) {
  const Flats flats(4);
  const std::vector<MuonRound> rounds = PlanMuon(flats.all, 4, int64_t{1} << 30);
  ASSERT_EQ(rounds.size(), 1u);
  std::vector<double> load(4);
  double total = 0;
  for (const MuonMatrix& m : rounds[0]) {
    const double cost = NewtonSchulzFlops(m.rows, m.columns);
    load[static_cast<size_t>(m.owner)] += cost;
    total += cost;
  }
  EXPECT_LE(*std::max_element(load.begin(), load.end()), 1.05 * total / 4);
}

}  // namespace
}  // namespace wyvern
