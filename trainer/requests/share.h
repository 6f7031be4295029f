// How ranks divide requests among them. Neighbours, which often begin alike, stay together.
#ifndef WYVERN_TRAINER_REQUESTS_SHARE_H_
#define WYVERN_TRAINER_REQUESTS_SHARE_H_

#include <string>
#include <vector>

#include "trainer/requests/request.h"

namespace wyvern {

// The requests that this rank answers, in their order.
std::vector<Request> ShareOfRank(std::vector<Request> requests, int rank, int num_ranks);

// The lines of all requests in their order, given those of each rank's share.
std::string LinesInOrder(const std::vector<std::string>& lines_of_ranks);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REQUESTS_SHARE_H_
