// The average of a model's weights in several checkpoints, which takes the place of a decay of the
// rate (WSM, arXiv 2507.17634).
#ifndef WYVERN_TRAINER_CHECKPOINT_AVERAGE_H_
#define WYVERN_TRAINER_CHECKPOINT_AVERAGE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/checkpoint/read.h"

namespace wyvern {

// Weights for `count` checkpoints, oldest first: the last one has 1, each other `decay` times that
// of the next. decay is in (0, 1]; 1: all are equal.
std::vector<double> AverageWeights(int64_t count, double decay);

// Writes the checkpoint `out` with the weighted mean of every parameter and buffer of the
// checkpoints `names`, each as CheckpointPath and OpenCheckpoint take it, and returns these. It has
// their model and tokenizer, the configuration of the last one's run, no optimizer state and step
// 0; meta["average"] lists path, step and share of each. Sums are in fp64 and in the order of
// `names`. Of a tensor, rows of at most `elements_at_once` elements, or one row, are in memory at a
// time; each such part reads the slices with elements of it as a whole.
// Errors: fewer than two checkpoints; FailedPrecondition where a model, a tokenizer or a tensor is
// another one than the first checkpoint's, which names the difference; those of reading and
// writing.
absl::StatusOr<std::vector<CheckpointInfo>> AverageCheckpoints(const std::string& out,
                                                               absl::Span<const std::string> names,
                                                               absl::Span<const double> weights,
                                                               int64_t elements_at_once = int64_t{1}
                                                                                          << 26);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_AVERAGE_H_
