#include "trainer/loop/source_loss.h"

namespace wyvern {

std::vector<SourceLoss> LossBySource(absl::Span<const Batch> micro_batches,
                                     absl::Span<const int64_t> begins,
                                     absl::Span<const Tensor> token_losses, size_t num_sources,
                                     DataParallel* parallel) {
  std::vector<double> sums(num_sources);
  std::vector<int64_t> counts(num_sources);
  for (size_t i = 0; i < token_losses.size(); ++i) {
    const Batch& batch = micro_batches[i];
    const std::vector<double> losses =
        token_losses[i].To(Device::kCpu).To(DType::kFloat64).ToVector<double>();
    for (size_t k = 0; k < losses.size(); ++k) {
      const size_t t = static_cast<size_t>(begins[i]) + k;
      if (batch.targets[t] < 0) continue;
      const auto source = static_cast<size_t>(batch.sources[t]);
      sums[source] += losses[k];
      ++counts[source];
    }
  }
  if (parallel != nullptr) {
    // Counts are exact in fp64 too, so one exchange has both.
    std::vector<double> both = sums;
    both.insert(both.end(), counts.begin(), counts.end());
    parallel->mesh().world().host().AllReduce(both.data(), both.data(),
                                              static_cast<int64_t>(both.size()), DType::kFloat64);
    for (size_t s = 0; s < num_sources; ++s) {
      sums[s] = both[s];
      counts[s] = static_cast<int64_t>(both[num_sources + s]);
    }
  }
  std::vector<SourceLoss> result;
  for (size_t s = 0; s < num_sources; ++s) result.push_back({sums[s], counts[s]});
  return result;
}

}  // namespace wyvern
