// Every collective of a communicator against a plain computation. All its ranks call it; each knows
// what every rank contributes, so it computes what it must receive by itself.
#ifndef WYVERN_TESTS_SUPPORT_COLLECTIVE_CHECKS_H_
#define WYVERN_TESTS_SUPPORT_COLLECTIVE_CHECKS_H_

#include "kernels/comm/communicator.h"
#include "kernels/comm/world.h"

namespace wyvern {

// Reports through GoogleTest. Sums of floats must be those of adding in the order of the ranks, to
// the bit in host memory and but for their rounding on CUDA.
void CheckCollectives(Communicator& group);

// Reductions in the background of a world, beside long and short collectives.
void CheckBackgroundReduction(World& world);

}  // namespace wyvern

#endif  // WYVERN_TESTS_SUPPORT_COLLECTIVE_CHECKS_H_
