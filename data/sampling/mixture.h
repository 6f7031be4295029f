// Which store the n-th training sample comes from.
#ifndef WYVERN_DATA_SAMPLING_MIXTURE_H_
#define WYVERN_DATA_SAMPLING_MIXTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace wyvern {

// A fixed sequence over S sources in which, after any number n of draws, source i was drawn within
// one of n w_i times (Tijdeman, The chairman assignment problem, 1980). The weights are rounded to
// multiples of 2^-20, after which the sequence is periodic, so seeking costs one table look-up.
class MixtureSchedule {
 public:
  struct Draw {
    int32_t source;
    int64_t index;  // how many earlier draws were of this source
  };

  // Weights are relative, and positive. Errors: none or more than 1024 of them, one that is not
  // positive and finite, one below 2^-20 of the sum.
  static absl::StatusOr<MixtureSchedule> Make(absl::Span<const double> weights);

  Draw At(int64_t n) const;
  // How many of the first n draws are of this source.
  int64_t Count(int32_t source, int64_t n) const;

 private:
  std::vector<int64_t> per_period_;  // [S]
  std::vector<uint16_t> source_;     // [period]
  std::vector<int32_t> index_;       // [period]
};

}  // namespace wyvern

#endif  // WYVERN_DATA_SAMPLING_MIXTURE_H_
