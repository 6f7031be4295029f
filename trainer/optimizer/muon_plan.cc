#include "trainer/optimizer/muon_plan.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "trainer/optimizer/newton_schulz.h"

namespace wyvern {
namespace {

// The rank whose shard has most of it, the first of several.
int HolderOf(const MuonMatrix& m) {
  const int64_t shard_size = m.parameter->flat->shard_size();
  const auto first = static_cast<int>(m.flat_offset / shard_size);
  const auto last = static_cast<int>((m.flat_offset + m.num_elements() - 1) / shard_size);
  int holder = first;
  for (int rank = first + 1; rank <= last; ++rank) {
    if (m.RangeOn(rank).size() > m.RangeOn(holder).size()) holder = rank;
  }
  return holder;
}

// Sets the owners of a round.
void Balance(int num_ranks, MuonRound* round) {
  const auto cost = [](const MuonMatrix& m) { return NewtonSchulzFlops(m.rows, m.columns); };
  double total = 0;
  for (const MuonMatrix& m : *round) total += cost(m);
  const double mean = total / num_ranks;
  std::vector<size_t> order(round->size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return cost((*round)[a]) > cost((*round)[b]); });
  std::vector<double> load(static_cast<size_t>(num_ranks));
  for (const size_t i : order) {
    MuonMatrix& m = (*round)[i];
    auto owner = load.begin() + HolderOf(m);
    if (*owner + cost(m) > mean) owner = std::min_element(load.begin(), load.end());
    *owner += cost(m);
    m.owner = static_cast<int>(owner - load.begin());
  }
  const auto key = [](const MuonMatrix& m) { return std::tuple(m.owner, m.rows, m.columns); };
  std::stable_sort(round->begin(), round->end(),
                   [&](const MuonMatrix& a, const MuonMatrix& b) { return key(a) < key(b); });
}

// The matrices of each flat; of a divided one the first of every shard, then the second ones ...
std::vector<MuonRound> MatricesByFlat(const std::vector<const Parameter*>& parameters) {
  std::vector<MuonRound> flats;
  for (const Parameter* parameter : parameters) {
    const MatrixShape shape = MatricesOf(parameter->shape);
    const int64_t size = shape.rows * shape.columns;
    const int64_t first = parameter->flat->OffsetOf(*parameter);
    if (shape.count * size == 0) continue;
    if (flats.empty() || flats.back().front().parameter->flat != parameter->flat) {
      flats.emplace_back();
    }
    for (int64_t index = 0; index < shape.count; ++index) {
      flats.back().push_back({.parameter = parameter,
                              .index = index,
                              .rows = shape.rows,
                              .columns = shape.columns,
                              .flat_offset = first + index * size});
    }
  }
  for (MuonRound& flat : flats) {
    const auto place = [](const MuonMatrix& m) {  // in its shard
      return m.flat_offset % m.parameter->flat->shard_size();
    };
    std::stable_sort(flat.begin(), flat.end(),
                     [&](const MuonMatrix& a, const MuonMatrix& b) { return place(a) < place(b); });
  }
  return flats;
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
  const int64_t most = max_elements * num_ranks;
  std::vector<MuonRound> rounds;
  int64_t elements = 0;
  for (const MuonRound& flat : MatricesByFlat(parameters)) {
    int64_t left = 0;
    for (const MuonMatrix& m : flat) left += m.num_elements();
    bool whole = num_ranks > 1;  // begins a new round rather than being cut
    for (const MuonMatrix& m : flat) {
      if (rounds.empty() || elements + (whole ? left : m.num_elements()) > most) {
        rounds.emplace_back();
        elements = 0;
      }
      whole = false;
      elements += m.num_elements();
      rounds.back().push_back(m);
    }
  }
  for (MuonRound& round : rounds) Balance(num_ranks, &round);
  return rounds;
}

}  // namespace wyvern
