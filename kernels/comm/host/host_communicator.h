#ifndef WYVERN_KERNELS_COMM_HOST_HOST_COMMUNICATOR_H_
#define WYVERN_KERNELS_COMM_HOST_HOST_COMMUNICATOR_H_

#include <memory>
#include <string>
#include <vector>

#include "kernels/comm/communicator.h"
#include "kernels/comm/host/transport.h"

namespace wyvern {

// Collectives in host memory of the ranks `members` of `transport`, which must outlive the result;
// this process is one of them. Floats are reduced in the order of `members`. Of few bytes, and of
// integers, a collective takes about log2 of the members in rounds.
std::unique_ptr<Communicator> MakeHostCommunicator(Transport* transport, std::vector<int> members,
                                                   std::string name);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_HOST_HOST_COMMUNICATOR_H_
