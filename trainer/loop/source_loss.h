#ifndef WYVERN_TRAINER_LOOP_SOURCE_LOSS_H_
#define WYVERN_TRAINER_LOOP_SOURCE_LOSS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "data/sampling/batch.h"
#include "layers/model.h"
#include "trainer/parallel/data_parallel.h"

namespace wyvern {

// The training loss of the tokens of one source.
struct SourceLoss {
  double sum = 0;  // in nats
  int64_t num_targets = 0;
};

// Sums the losses of a step's tokens by source. Of micro batch i, this rank has the tokens from
// begins[i] on, with the losses token_losses[i]. The sums are in fp64 and in the tokens' order, so
// they depend on micro batches and ranks by rounding alone. Batches name sources below num_sources.
// All ranks of `parallel`, which may be null, call it and get the same.
std::vector<SourceLoss> LossBySource(absl::Span<const Batch> micro_batches,
                                     absl::Span<const int64_t> begins,
                                     absl::Span<const Tensor> token_losses, size_t num_sources,
                                     DataParallel* parallel);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_LOOP_SOURCE_LOSS_H_
