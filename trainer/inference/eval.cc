#include "trainer/inference/eval.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "trainer/parallel/device_batch.h"

namespace wyvern {
namespace {

// Enough buckets for any position of 64 bits.
constexpr size_t kMaxBuckets = 65;

// Bucket 0 is position 0, bucket b is [2^(b-1), 2^b).
size_t BucketOf(int64_t position) { return std::bit_width(static_cast<uint64_t>(position)); }

}  // namespace

int64_t EvalSamplesAtOnce(int64_t seq_len) {
  constexpr int64_t kTokens = 4096;  // that keep a GPU busy, and need little memory in a forward
  return std::clamp<int64_t>(kTokens / seq_len, 1, kEvalBatchSamples);
}

std::vector<int64_t> EvalSamples(const SequentialSampler& sampler, int64_t batches) {
  const int64_t all = sampler.num_samples();
  const int64_t available = (all + kEvalBatchSamples - 1) / kEvalBatchSamples;
  const int64_t count = batches == 0 ? available : std::min(batches, available);
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = i * available / count * kEvalBatchSamples;
    const int64_t end = std::min(first + kEvalBatchSamples, all);
    for (int64_t sample = first; sample < end; ++sample) samples.push_back(sample);
  }
  return samples;
}

Evaluator::TokenLosses Evaluator::Run(const Batch& batch) const {
  Tape tape(/*recording=*/false);
  const DeviceBatch part = Upload(batch, model_->device(), mesh_);
  const auto loss = model_->Loss(tape, part.ids, part.targets, part.packing, /*denominator=*/1);
  return {.begin = part.begin,
          .loss = loss.token_loss.value().To(DType::kFloat64).ToVector<double>(),
          .positions = part.packing.positions.ToVector<int32_t>()};
}

void Evaluator::Add(const Batch& batch, const TokenLosses& part) {
  for (size_t i = 0; i < part.loss.size(); ++i) {
    const size_t t = static_cast<size_t>(part.begin) + i;
    if (batch.targets[t] < 0) continue;
    const size_t bucket = BucketOf(part.positions[i]);
    if (bucket >= buckets_.size()) buckets_.resize(bucket + 1);
    buckets_[bucket].loss += part.loss[i];
    ++buckets_[bucket].count;
    if (bytes_ != nullptr) num_bytes_ += bytes_->Count(batch.tokens[t], batch.targets[t]);
  }
  num_tokens_ += static_cast<int64_t>(part.loss.size());
}

EvalResult Evaluator::Result() const {
  EvalResult result;
  result.num_tokens = num_tokens_;
  result.num_bytes = num_bytes_;
  double sum = 0;
  for (size_t b = 0; b < buckets_.size(); ++b) {
    if (buckets_[b].count == 0) continue;
    sum += buckets_[b].loss;
    result.num_targets += buckets_[b].count;
    result.positions.push_back({.begin = b == 0 ? 0 : int64_t{1} << (b - 1),
                                .end = int64_t{1} << b,
                                .num_targets = buckets_[b].count,
                                .loss = buckets_[b].loss / buckets_[b].count});
  }
  result.loss =
      result.num_targets == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / result.num_targets;
  result.perplexity = std::exp(result.loss);
  return result;
}

EvalResult Evaluate(Model* model, absl::Span<const Batch> batches) {
  Evaluator evaluator(model);
  for (const Batch& batch : batches) evaluator.Add(batch);
  return evaluator.Result();
}

void Evaluator::SumOverRanks() {
  Communicator& host = mesh_->world().host();
  std::vector<double> loss(kMaxBuckets);
  std::vector<int64_t> counts(kMaxBuckets + 2);
  for (size_t b = 0; b < buckets_.size(); ++b) {
    loss[b] = buckets_[b].loss;
    counts[b] = buckets_[b].count;
  }
  counts[kMaxBuckets] = num_tokens_;
  counts[kMaxBuckets + 1] = num_bytes_;
  host.AllReduce(loss.data(), loss.data(), static_cast<int64_t>(loss.size()), DType::kFloat64);
  host.AllReduce(counts.data(), counts.data(), static_cast<int64_t>(counts.size()), DType::kInt64);
  buckets_.resize(kMaxBuckets);
  for (size_t b = 0; b < kMaxBuckets; ++b) buckets_[b] = {.loss = loss[b], .count = counts[b]};
  num_tokens_ = counts[kMaxBuckets];
  num_bytes_ = counts[kMaxBuckets + 1];
}

std::vector<EvalResult> Evaluate(Model* model, absl::Span<const EvalBatch> batches,
                                 size_t num_results, const TokenBytes& bytes,
                                 DataParallel* parallel) {
  const Mesh* mesh = parallel == nullptr ? nullptr : &parallel->mesh();
  const size_t ranks = mesh == nullptr ? 1 : static_cast<size_t>(mesh->num_data_ranks());
  const size_t index = mesh == nullptr ? 0 : static_cast<size_t>(mesh->data_index());
  std::vector<Evaluator> evaluators(num_results, Evaluator(model, mesh, &bytes));
  const Evaluator runner(model, mesh);
  for (size_t first = 0; first < batches.size(); first += ranks) {
    // A rank that has no batch left runs one all the same: the others need its parameter shards.
    const bool mine = first + index < batches.size();
    const EvalBatch& batch = batches[mine ? first + index : first];
    const Evaluator::TokenLosses losses = runner.Run(batch.batch);
    if (!mine) continue;
    for (const size_t result : batch.results) evaluators[result].Add(batch.batch, losses);
  }
  std::vector<EvalResult> results;
  for (Evaluator& evaluator : evaluators) {
    if (mesh != nullptr) evaluator.SumOverRanks();
    results.push_back(evaluator.Result());
  }
  return results;
}

std::optional<double> EvalResult::BitsPerByte() const {
  if (num_bytes == 0) return std::nullopt;
  return loss * static_cast<double>(num_targets) / std::log(2.0) / static_cast<double>(num_bytes);
}

nlohmann::json EvalResult::ToJson() const {
  nlohmann::json json = {{"loss", loss},
                         {"perplexity", perplexity},
                         {"num_tokens", num_tokens},
                         {"num_targets", num_targets},
                         {"positions", nlohmann::json::array()}};
  if (num_bytes > 0) {
    json["num_bytes"] = num_bytes;
    json["bits_per_byte"] = *BitsPerByte();
  }
  for (const Bucket& bucket : positions) {
    json["positions"].push_back({{"begin", bucket.begin},
                                 {"end", bucket.end},
                                 {"num_targets", bucket.num_targets},
                                 {"loss", bucket.loss}});
  }
  return json;
}

}  // namespace wyvern
