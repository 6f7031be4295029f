// Sums of per-block partial results in a fixed order.
#pragma once

#include <cstdint>

#include "kernels/runtime/device.h"

namespace wyvern {

// out[i] = sum over j of partials[j, i], partials [num_partials, dim] fp32; or adds it to out[i].
void SumPartials(const float* partials, int64_t num_partials, int64_t dim, float* out, bool add,
                 StreamHandle stream);
// The same for partials [num_partials, A, B] and out [B, A].
void SumPartialsTransposed(const float* partials, int64_t num_partials, int64_t a, int64_t b,
                           float* out, bool add, StreamHandle stream);

}  // namespace wyvern
