#include "trainer/evaluation/bootstrap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace wyvern {
namespace {

// Python's random.Random(seed): the Mersenne Twister mt19937, which init_by_array fills from a seed
// of one word (M. Matsumoto, T. Nishimura 2002).
class PythonRandom {
 public:
  explicit PythonRandom(uint32_t seed) {
    state_[0] = 19650218;
    for (uint32_t i = 1; i < kSize; ++i) {
      state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
    }
    uint32_t i = 1;
    const auto next = [&] {
      if (++i == kSize) {
        state_[0] = state_[kSize - 1];
        i = 1;
      }
    };
    const auto mixed = [&] { return state_[i - 1] ^ (state_[i - 1] >> 30); };
    for (uint32_t k = 0; k < kSize; ++k, next())
      state_[i] = (state_[i] ^ (mixed() * 1664525u)) + seed;
    for (uint32_t k = 1; k < kSize; ++k, next())
      state_[i] = (state_[i] ^ (mixed() * 1566083941u)) - i;
    state_[0] = 0x80000000u;
  }

  // In [0, 1), of 53 bits.
  double Next() {
    const uint32_t high = NextWord() >> 5, low = NextWord() >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
  }

 private:
  static constexpr uint32_t kSize = 624, kShift = 397;

  uint32_t NextWord() {
    if (at_ == kSize) Refill();
    uint32_t word = state_[at_++];
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c5680u;
    word ^= (word << 15) & 0xefc60000u;
    return word ^ (word >> 18);
  }
  void Refill() {
    for (uint32_t i = 0; i < kSize; ++i) {
      const uint32_t bits = (state_[i] & 0x80000000u) | (state_[(i + 1) % kSize] & 0x7fffffffu);
      state_[i] = state_[(i + kShift) % kSize] ^ (bits >> 1) ^ ((bits & 1) != 0 ? 0x9908b0dfu : 0);
    }
    at_ = 0;
  }

  std::array<uint32_t, kSize> state_;
  uint32_t at_ = kSize;
};

}  // namespace

double PerplexityError(absl::Span<const double> log_likelihoods, int64_t rounds) {
  const auto size = static_cast<double>(log_likelihoods.size());
  std::vector<double> perplexities;
  for (int64_t round = 0; round < rounds; ++round) {
    PythonRandom random(static_cast<uint32_t>(round));
    for (int i = 0; i < 1000; ++i) {
      double sum = 0;
      for (size_t k = 0; k < log_likelihoods.size(); ++k) {
        sum += log_likelihoods[static_cast<size_t>(random.Next() * size)];
      }
      perplexities.push_back(std::exp(-sum / size));
    }
  }
  const auto count = static_cast<double>(perplexities.size());
  double mean = 0, squares = 0;
  for (const double x : perplexities) mean += x;
  mean /= count;
  for (const double x : perplexities) squares += (x - mean) * (x - mean);
  return std::sqrt(squares / (count - 1));
}

}  // namespace wyvern
