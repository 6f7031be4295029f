#include "data/sampling/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

constexpr int64_t kPeriod = int64_t{1} << 20;
constexpr size_t kMaxSources = 1024;

// Integers of sum kPeriod as near to the weights' shares as can be: the largest rests round up.
std::vector<int64_t> RoundShares(absl::Span<const double> weights) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> shares(weights.size());
  std::vector<double> rests(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const double exact = weights[i] / total * static_cast<double>(kPeriod);
    shares[i] = static_cast<int64_t>(exact);
    rests[i] = exact - static_cast<double>(shares[i]);
  }
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rests[a] > rests[b]; });
  int64_t missing = kPeriod - std::accumulate(shares.begin(), shares.end(), int64_t{0});
  for (size_t i = 0; missing > 0; i = (i + 1) % order.size(), --missing) ++shares[order[i]];
  return shares;
}

}  // namespace

absl::StatusOr<MixtureSchedule> MixtureSchedule::Make(absl::Span<const double> weights) {
  if (weights.empty() || weights.size() > kMaxSources) {
    return absl::InvalidArgumentError(
        absl::StrCat("a mixture has 1 to ", kMaxSources, " sources, this one ", weights.size()));
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i]) || weights[i] <= 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the weight of source ", i, " of the mixture must be positive, got ", weights[i]));
    }
  }
  MixtureSchedule schedule;
  schedule.per_period_ = RoundShares(weights);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (schedule.per_period_[i] <= 0) {
      return absl::InvalidArgumentError(absl::StrCat("the weight of source ", i, ", ", weights[i],
                                                     ", is below a millionth of the mixture"));
    }
  }

  // Tijdeman's rule. With lead_i = n w_i - (draws of i so far) before the n-th draw, of the sources
  // whose lead has reached delta = 1 / (2 S - 2), the one whose lead would first reach 1 - delta is
  // drawn. All quantities are scaled by kPeriod (2 S - 2) to integers.
  const auto S = static_cast<int64_t>(weights.size());
  const int64_t scale = std::max<int64_t>(2 * S - 2, 1);
  const int64_t delta = S == 1 ? 0 : kPeriod;
  const int64_t one = kPeriod * scale;
  std::vector<int64_t> draws(S, 0);
  schedule.source_.resize(kPeriod);
  schedule.index_.resize(kPeriod);
  for (int64_t n = 0; n < kPeriod; ++n) {
    int64_t best = -1, best_room = 0;
    for (int64_t i = 0; i < S; ++i) {
      const int64_t share = schedule.per_period_[i];
      const int64_t lead = (n + 1) * share * scale - draws[i] * one;
      if (lead < delta) continue;
      const int64_t room = one - delta - lead;  // room / share: draws until it is urgent
      if (best < 0 || static_cast<__int128>(room) * schedule.per_period_[best] <
                          static_cast<__int128>(best_room) * share) {
        best = i;
        best_room = room;
      }
    }
    schedule.source_[n] = static_cast<uint16_t>(best);
    schedule.index_[n] = static_cast<int32_t>(draws[best]++);
  }
  return schedule;
}

MixtureSchedule::Draw MixtureSchedule::At(int64_t n) const {
  const int64_t period = n / kPeriod, phase = n % kPeriod;
  const int32_t source = source_[phase];
  return {source, period * per_period_[source] + index_[phase]};
}

int64_t MixtureSchedule::Count(int32_t source, int64_t n) const {
  const auto next = std::find(source_.begin() + n % kPeriod, source_.end(), source);
  const int64_t in_period =
      next == source_.end() ? per_period_[source] : index_[next - source_.begin()];
  return n / kPeriod * per_period_[source] + in_period;
}

}  // namespace wyvern
