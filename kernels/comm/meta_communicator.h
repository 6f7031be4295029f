#ifndef WYVERN_KERNELS_COMM_META_COMMUNICATOR_H_
#define WYVERN_KERNELS_COMM_META_COMMUNICATOR_H_

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "kernels/comm/communicator.h"

namespace wyvern {

// The bytes that the collectives of a program would move.
struct CommVolume {
  int64_t num_calls = 0;
  double sent_bytes = 0;  // by this rank, in a ring (AllToAll: to the other ranks)
};

// By group name and operation: {"shard", "all_gather"}.
using CommVolumes = std::map<std::pair<std::string, std::string>, CommVolume>;

// One rank of a group whose other ranks are not there: calls return at once, leave their outputs as
// they were and are added to `volumes`, which outlives this. On the meta device or the CPU.
std::unique_ptr<Communicator> MakeMetaCommunicator(int rank, int size, std::string name,
                                                   Device device, CommVolumes* volumes);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_META_COMMUNICATOR_H_
