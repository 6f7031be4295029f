#ifndef WYVERN_TESTS_RANKS_RANKS_H_
#define WYVERN_TESTS_RANKS_RANKS_H_

#include "kernels/comm/world.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {

// The ranks that this program was started on.
World& TheWorld();

// Whether each of them has a GPU of its own, which is then selected.
bool RanksHaveGpus();

}  // namespace wyvern

#endif  // WYVERN_TESTS_RANKS_RANKS_H_
