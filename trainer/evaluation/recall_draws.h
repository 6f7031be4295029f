// Random keys and values of recall tasks: a pure function of the seed and of what is drawn, the
// same on every machine.
#ifndef WYVERN_TRAINER_EVALUATION_RECALL_DRAWS_H_
#define WYVERN_TRAINER_EVALUATION_RECALL_DRAWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "kernels/runtime/random.h"

namespace wyvern {

class RecallDraws {
 public:
  // `purpose` and `sample` name the stream: another one draws other values.
  RecallDraws(uint64_t seed, absl::string_view purpose, int64_t sample)
      : random_(seed, purpose), sample_(static_cast<uint64_t>(sample)) {}

  int64_t Below(int64_t bound);    // in [0, bound); bound > 0
  std::string Word();              // an adjective and a noun, with a hyphen
  std::string Number();            // of 7 digits
  std::string Uuid();              // version 4
  std::string Letters(int count);  // capital ones
  // `count` of the numbers [0, bound), ascending; count <= bound.
  std::vector<int64_t> Distinct(int64_t count, int64_t bound);

 private:
  Random random_;
  uint64_t sample_, next_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_RECALL_DRAWS_H_
