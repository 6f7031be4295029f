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
    Communicator& host = parallel->mesh().world().host();
    const auto size = static_cast<int64_t>(num_sources);
    host.AllReduce(sums.data(), sums.data(), size, DType::kFloat64);
    host.AllReduce(counts.data(), counts.data(), size, DType::kInt64);
  }
  std::vector<SourceLoss> result;
  for (size_t s = 0; s < num_sources; ++s) result.push_back({sums[s], counts[s]});
  return result;
}

}  // namespace wyvern
