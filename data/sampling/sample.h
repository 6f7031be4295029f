// Cutting samples out of a store, shared by the samplers.
#ifndef WYVERN_DATA_SAMPLING_SAMPLE_H_
#define WYVERN_DATA_SAMPLING_SAMPLE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "data/sampling/batch.h"
#include "data/sampling/sampler.h"
#include "data/store/token_store.h"

namespace wyvern {

// Appends the tokens [begin, end) of the store, whose targets are (begin, end]; end < num_tokens.
absl::Status AppendSample(const TokenStore& store, int64_t begin, int64_t end,
                          DocumentBoundary boundary, Batch* batch);

}  // namespace wyvern

#endif  // WYVERN_DATA_SAMPLING_SAMPLE_H_
