#include "data/sampling/sampler.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/sampling/sample.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

absl::Status CheckLength(const TokenStore& store, int64_t seq_len) {
  if (seq_len < 1) {
    return absl::InvalidArgumentError(absl::StrCat("seq_len must be at least 1, got ", seq_len));
  }
  if (store.num_tokens() >= seq_len + 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      store.path(), ": holds ", store.num_tokens(), " tokens, but one sample of ", seq_len,
      " tokens and its last target needs ", seq_len + 1, "; lower seq_len or prepare more text"));
}

}  // namespace

uint64_t PermuteIndex(uint64_t seed, uint64_t stream, uint64_t size, uint64_t index) {
  CHECK(index < size);
  int half_bits = 1;
  while (half_bits < 32 && (uint64_t{1} << (2 * half_bits)) < size) ++half_bits;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  constexpr uint64_t kRounds = 8;
  do {  // a permutation of the larger range: walking its cycle gives one of the smaller
    uint64_t left = index >> half_bits, right = index & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t mixed = left ^ (Philox(seed, stream, (round << 32) | right)[0] & mask);
      left = right;
      right = mixed;
    }
    index = (left << half_bits) | right;
  } while (index >= size);
  return index;
}

Sampler::Sampler(SamplerOptions options, std::vector<std::shared_ptr<TokenStore>> stores,
                 std::vector<double> weights, MixtureSchedule schedule)
    : options_(options),
      stores_(std::move(stores)),
      weights_(std::move(weights)),
      schedule_(std::move(schedule)) {}

absl::StatusOr<std::unique_ptr<Sampler>> Sampler::Open(const std::vector<MixtureEntry>& entries,
                                                       const SamplerOptions& options) {
  std::vector<std::shared_ptr<TokenStore>> stores;
  for (const MixtureEntry& entry : entries) {
    ASSIGN_OR_RETURN(std::shared_ptr<TokenStore> store, TokenStore::Open(entry.path));
    RETURN_IF_ERROR(CheckLength(*store, options.seq_len));
    if (!stores.empty() && (store->info().tokenizer_hash != stores[0]->info().tokenizer_hash)) {
      return absl::InvalidArgumentError(
          absl::StrCat(entry.path, ": made with the tokenizer ", store->info().tokenizer_hash,
                       ", but ", stores[0]->path(), " with ", stores[0]->info().tokenizer_hash,
                       "; the stores of a mixture must share one tokenizer"));
    }
    stores.push_back(std::move(store));
  }
  const bool by_size = std::all_of(entries.begin(), entries.end(),
                                   [](const MixtureEntry& entry) { return entry.weight == 0; });
  std::vector<double> weights;
  for (size_t i = 0; i < entries.size(); ++i) {
    weights.push_back(by_size ? static_cast<double>(stores[i]->num_tokens()) : entries[i].weight);
  }
  ASSIGN_OR_RETURN(MixtureSchedule schedule, MixtureSchedule::Make(weights));
  return std::unique_ptr<Sampler>(
      new Sampler(options, std::move(stores), std::move(weights), std::move(schedule)));
}

absl::StatusOr<std::unique_ptr<Sampler>> Sampler::WithLength(int64_t seq_len) const {
  for (const auto& store : stores_) RETURN_IF_ERROR(CheckLength(*store, seq_len));
  SamplerOptions options = options_;
  options.seq_len = seq_len;
  return std::unique_ptr<Sampler>(new Sampler(options, stores_, weights_, schedule_));
}

Sampler::SampleId Sampler::At(int64_t samples_seen) const {
  const MixtureSchedule::Draw draw = schedule_.At(samples_seen);
  const int64_t size = num_samples(draw.source);
  const int64_t epoch = draw.index / size;
  // One permutation per store and epoch.
  const auto key =
      Philox(options_.seed, HashName("window order"),
             (static_cast<uint64_t>(epoch) << 16) | static_cast<uint64_t>(draw.source));
  const uint64_t stream = (static_cast<uint64_t>(key[0]) << 32) | key[1];
  const uint64_t sample = PermuteIndex(options_.seed, stream, size, draw.index % size);
  return {draw.source, epoch, static_cast<int64_t>(sample)};
}

absl::StatusOr<Batch> Sampler::Sample(int64_t samples_seen, int64_t num_samples) const {
  CHECK(samples_seen >= 0 && num_samples > 0);
  Batch batch;
  for (int64_t n = samples_seen; n < samples_seen + num_samples; ++n) {
    const SampleId id = At(n);
    const int64_t begin = id.sample * options_.seq_len;
    RETURN_IF_ERROR(AppendSample(*stores_[id.store], begin, begin + options_.seq_len,
                                 options_.boundary, &batch));
  }
  return batch;
}

std::string Sampler::Manifest() const {
  std::string manifest;
  for (size_t i = 0; i < stores_.size(); ++i) {
    absl::StrAppend(&manifest, stores_[i]->path(), " ", stores_[i]->fingerprint(), " weight ",
                    weights_[i], "\n");
  }
  return manifest;
}

std::string ManifestDifference(absl::string_view now, absl::string_view then) {
  const std::vector<absl::string_view> ours = absl::StrSplit(now, '\n', absl::SkipEmpty());
  const std::vector<absl::string_view> theirs = absl::StrSplit(then, '\n', absl::SkipEmpty());
  if (ours.size() != theirs.size()) {
    return absl::StrCat(ours.size(), " sources now, ", theirs.size(), " then");
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    // "PATH FINGERPRINT weight WEIGHT"; the path may hold spaces.
    const auto content = [](absl::string_view line) {
      const size_t weight = line.rfind(" weight ");
      if (weight == absl::string_view::npos || weight == 0) return line;
      const size_t space = line.rfind(' ', weight - 1);
      return space == absl::string_view::npos ? line : line.substr(space + 1);
    };
    if (content(ours[i]) != content(theirs[i])) {
      return absl::StrCat("source ", i, " is ", ours[i], ", was ", theirs[i]);
    }
  }
  return "";
}

SequentialSampler::SequentialSampler(std::shared_ptr<TokenStore> store, int64_t seq_len,
                                     DocumentBoundary boundary)
    : store_(std::move(store)), seq_len_(seq_len), boundary_(boundary) {
  CHECK(seq_len_ > 0);
}

int64_t SequentialSampler::num_samples() const {
  const int64_t num_inputs = std::max<int64_t>(store_->num_tokens() - 1, 0);
  return (num_inputs + seq_len_ - 1) / seq_len_;
}

absl::StatusOr<Batch> SequentialSampler::Sample(int64_t first, int64_t num_samples) const {
  CHECK(0 <= first && first < this->num_samples() && num_samples > 0);
  std::vector<int64_t> samples(std::min(num_samples, this->num_samples() - first));
  std::iota(samples.begin(), samples.end(), first);
  return Sample(samples);
}

absl::StatusOr<Batch> SequentialSampler::Sample(absl::Span<const int64_t> samples) const {
  Batch batch;
  for (const int64_t sample : samples) {
    CHECK(0 <= sample && sample < num_samples());
    const int64_t begin = sample * seq_len_;
    const int64_t end = std::min(begin + seq_len_, store_->num_tokens() - 1);
    RETURN_IF_ERROR(AppendSample(*store_, begin, end, boundary_, &batch));
  }
  return batch;
}

}  // namespace wyvern
