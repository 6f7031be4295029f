#ifndef WYVERN_TRAINER_PARALLEL_WAIT_SHARE_H_
#define WYVERN_TRAINER_PARALLEL_WAIT_SHARE_H_

#include <string>

namespace wyvern {

// Shares of the time from one step's agreement to the next's in which ranks wait for others: the
// host in its collectives, the GPU's compute stream at results of collectives that it needs. Bytes
// on their way count where nothing hides them. The slowest rank is the one that waits least; what
// the others wait more than it is lost to it.
struct WaitShares {
  double own = 0;
  double most = 0;   // of all ranks
  double least = 0;  // the slowest rank's
  int slowest = 0;

  std::string ToString() const;  // "waited 12.0% (most 12.0%, slowest rank 1: 0.4%)"
};

class WaitMeter {
 public:
  WaitMeter();  // the time counts from here
  // This rank's share since the last call.
  double Next();

 private:
  double begin_, waited_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PARALLEL_WAIT_SHARE_H_
