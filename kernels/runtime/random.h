// Counter-based random numbers: every draw is a pure function of (seed, purpose, index), so a
// resumed run repeats the uninterrupted one and any element can be drawn by any thread.
#ifndef WYVERN_KERNELS_RUNTIME_RANDOM_H_
#define WYVERN_KERNELS_RUNTIME_RANDOM_H_

#include <array>
#include <cmath>
#include <cstdint>

#include "absl/strings/string_view.h"

// Drawn on either side, in kernels too.
#ifdef __CUDACC__
#define WYVERN_HOST_DEVICE __host__ __device__
#else
#define WYVERN_HOST_DEVICE
#endif

namespace wyvern {

// Philox-4x32-10 (Salmon et al., SC 2011): four 32-bit words for a 64-bit key and 128-bit counter.
WYVERN_HOST_DEVICE inline std::array<uint32_t, 4> Philox(uint64_t key, uint64_t counter_high,
                                                         uint64_t counter_low) {
  std::array<uint32_t, 4> c = {
      static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
      static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// FNV-1a, for naming purposes: the same text gives the same stream on every machine.
inline uint64_t HashName(absl::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  return hash;
}

// One stream of draws.
class Random {
 public:
  Random(uint64_t seed, absl::string_view purpose) : seed_(seed), stream_(HashName(purpose)) {}

  // Uniform in [0, 1), 53 bits.
  double Uniform(uint64_t index) const {
    const auto w = Philox(seed_, stream_, index);
    return static_cast<double>((static_cast<uint64_t>(w[0]) << 21) ^ (w[1] >> 11)) * 0x1p-53;
  }
  // Standard normal (Box-Muller). Host and device may differ in fp64's last bits, by their
  // logarithms and cosines.
  WYVERN_HOST_DEVICE double Normal(uint64_t index) const {
    const auto w = Philox(seed_, stream_, index);
    const double u =
        (static_cast<double>((static_cast<uint64_t>(w[0]) << 21) ^ (w[1] >> 11)) + 0.5) * 0x1p-53;
    const double v =
        static_cast<double>((static_cast<uint64_t>(w[2]) << 21) ^ (w[3] >> 11)) * 0x1p-53;
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586476925 * v);
  }
  // Uniform in [0, bound); the bias is below 2^-32 for bound < 2^32. bound > 0.
  uint64_t Below(uint64_t index, uint64_t bound) const {
    const auto w = Philox(seed_, stream_, index);
    return ((static_cast<uint64_t>(w[0]) << 32) | w[1]) % bound;
  }

 private:
  uint64_t seed_, stream_;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_RANDOM_H_
