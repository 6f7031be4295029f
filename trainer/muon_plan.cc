#include "trainer/muon_plan.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "trainer/newton_schulz.h"

namespace wyvern {
namespace {

// Sets the owners of a round, which is in the order of the model.
void Balance(int num_ranks, MuonRound* round) {
  const auto cost = [](const MuonMatrix& m) { return NewtonSchulzFlops(m.rows, m.columns); };
  std::vector<size_t> order(round->size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return cost((*round)[a]) > cost((*round)[b]); });
  std::vector<double> load(static_cast<size_t>(num_ranks));
  for (const size_t i : order) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += cost((*round)[i]);
    (*round)[i].owner = static_cast<int>(least - load.begin());
  }
  const auto key = [](const MuonMatrix& m) { return std::tuple(m.owner, m.rows, m.columns); };
  std::stable_sort(round->begin(), round->end(),
                   [&](const MuonMatrix& a, const MuonMatrix& b) { return key(a) < key(b); });
}

}  // namespace

MatrixShape MatricesOf(const Shape& shape) {
  CHECK(shape.size() >= 2, "no matrix: ", ToString(shape));
  MatrixShape matrices{.rows = shape[shape.size() - 2], .columns = shape.back()};
  for (size_t axis = 0; axis + 2 < shape.size(); ++axis) matrices.count *= shape[axis];
  return matrices;
}

MuonMatrix::Range MuonMatrix::RangeOn(int rank) const {
  const FlatParameters& flat = *parameter->flat;
  const int64_t shard = rank * flat.shard_size() - flat_offset;
  return {.begin = std::clamp<int64_t>(shard, 0, num_elements()),
          .end = std::clamp<int64_t>(shard + flat.shard_size(), 0, num_elements())};
}

std::vector<MuonRound> PlanMuon(const std::vector<const Parameter*>& parameters, int num_ranks,
                                int64_t max_elements) {
  std::vector<MuonRound> rounds;
  int64_t elements = 0;
  for (const Parameter* parameter : parameters) {
    const MatrixShape shape = MatricesOf(parameter->shape);
    const int64_t size = shape.rows * shape.columns;
    const int64_t first = parameter->flat->OffsetOf(*parameter);
    for (int64_t index = 0; index < shape.count && size > 0; ++index) {
      if (rounds.empty() || elements + size > max_elements * num_ranks) {
        rounds.emplace_back();
        elements = 0;
      }
      elements += size;
      rounds.back().push_back({.parameter = parameter,
                               .index = index,
                               .rows = shape.rows,
                               .columns = shape.columns,
                               .flat_offset = first + index * size});
    }
  }
  for (MuonRound& round : rounds) Balance(num_ranks, &round);
  return rounds;
}

}  // namespace wyvern
