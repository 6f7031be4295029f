// Who orthogonalises which matrix, and when.
#ifndef WYVERN_TRAINER_OPTIMIZER_MUON_PLAN_H_
#define WYVERN_TRAINER_OPTIMIZER_MUON_PLAN_H_

#include <cstdint>
#include <vector>

#include "layers/parameter.h"
#include "layers/unit.h"

namespace wyvern {

// The matrices of a parameter: its last two axes are rows and columns, those before count them. An
// expert parameter [E, rows, columns] is E matrices.
struct MatrixShape {
  int64_t count = 1, rows = 0, columns = 0;
};
MatrixShape MatricesOf(const Shape& shape);

struct MuonMatrix {
  const Parameter* parameter = nullptr;
  int64_t index = 0;  // among the parameter's matrices
  int64_t rows = 0, columns = 0;
  int64_t flat_offset = 0;  // of its first element, in the flat of all shards
  int owner = 0;            // rank of the group that orthogonalises it

  int64_t num_elements() const { return rows * columns; }
  // The elements of it, as [begin, end) counted from its first, in the flat shard of a rank.
  struct Range {
    int64_t begin = 0, end = 0;
    int64_t size() const { return end - begin; }
  };
  Range RangeOn(int rank) const;
};

// Matrices that are exchanged and orthogonalised at once, by owner, then by shape, then in the
// order in which the round took them.
using MuonRound = std::vector<MuonMatrix>;

// Divides the matrices of `parameters`, which lie in flats of one sharding, over its ranks. A round
// takes matrices flat by flat, of each flat from all shards evenly, until they have more than
// `max_elements` for each rank (at least one matrix); a divided flat that would not fit whole
// begins a new one. Within it, from the costliest on, a matrix goes to the rank whose shard has
// most of it, so that little is sent, unless that gives this rank more than the mean; then to the
// one with the least to do so far. Experts whose number the ranks divide thus stay where they are.
// A pure function: all ranks make the same plan.
std::vector<MuonRound> PlanMuon(const std::vector<const Parameter*>& parameters, int num_ranks,
                                int64_t max_elements);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_OPTIMIZER_MUON_PLAN_H_
