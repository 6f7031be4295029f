// Emulates what storing in bf16 does to a model, without a GPU and without its kernels.
#ifndef WYVERN_AUTOGRAD_BF16_STORAGE_H_
#define WYVERN_AUTOGRAD_BF16_STORAGE_H_

#include <cstdint>

#include "autograd/tensor.h"

namespace wyvern {

// While one exists, every tape of this process rounds, in fp32 runs on the CPU, what a run in bf16
// holds in bf16: the tensors of Role::kIo that ops read (as copies: a parameter's master weights
// stay as it is) and give, their gradients, and sums of these. What ops round inside themselves on
// a GPU is not rounded. At most one exists at a time.
class Bf16Storage {
 public:
  enum class Rounding {
    kNearest,     // to nearest even, as hardware does
    kStochastic,  // up or down with the probability that keeps the mean: another draw per seed
  };
  explicit Bf16Storage(Rounding rounding, uint64_t seed = 0);
  ~Bf16Storage();
  Bf16Storage(const Bf16Storage&) = delete;
  Bf16Storage& operator=(const Bf16Storage&) = delete;

  // The one that exists, or null.
  static const Bf16Storage* active() { return active_; }

  // Rounds fp32 elements on the CPU in place. A pure function of seed, element and its index, which
  // changes nothing when repeated: recomputed activations are the same again.
  void Round(const Tensor& t) const;
  Tensor Rounded(const Tensor& t) const;

 private:
  static const Bf16Storage* active_;
  Rounding rounding_;
  uint64_t seed_;
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_BF16_STORAGE_H_
