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

constexpr int64_t kMaxSources = 1 << 16;  // what the key of an order holds beside the epoch

absl::Status CheckOptions(const SamplerOptions& options) {
  if (options.seq_len >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("seq_len must be at least 1, got ", options.seq_len));
}

absl::Status CheckLength(const TokenStore& store, int64_t seq_len) {
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

Sampler::Sampler(SamplerOptions options, std::vector<MixtureEntry> entries,
                 std::shared_ptr<const MixtureSchedule> schedule)
    : options_(options), entries_(std::move(entries)), schedule_(std::move(schedule)) {
  for (const MixtureEntry& entry : entries_) {
    whole_.push_back(entry.packing == SamplePacking::kWhole
                         ? std::make_shared<const WholeDocuments>(entry.store, options_.seq_len)
                         : nullptr);
  }
}

absl::StatusOr<std::unique_ptr<Sampler>> Sampler::Make(std::vector<MixtureEntry> entries,
                                                       const SamplerOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  for (const MixtureEntry& entry : entries) {
    const TokenStore &store = *entry.store, &first = *entries[0].store;
    if (store.info().tokenizer_hash != first.info().tokenizer_hash) {
      return absl::InvalidArgumentError(
          absl::StrCat(store.path(), ": made with the tokenizer ", store.info().tokenizer_hash,
                       ", but ", first.path(), " with ", first.info().tokenizer_hash,
                       "; the stores of a mixture must share one tokenizer"));
    }
    if (entry.source >= kMaxSources) {
      return absl::InvalidArgumentError(
          absl::StrCat("a run has at most ", kMaxSources, " sources"));
    }
  }
  const bool by_size = std::all_of(entries.begin(), entries.end(),
                                   [](const MixtureEntry& entry) { return entry.weight == 0; });
  std::vector<double> weights;
  for (MixtureEntry& entry : entries) {
    if (by_size) entry.weight = static_cast<double>(entry.store->num_tokens());
    weights.push_back(entry.weight);
  }
  ASSIGN_OR_RETURN(MixtureSchedule schedule, MixtureSchedule::Make(weights));
  std::unique_ptr<Sampler> sampler(new Sampler(
      options, std::move(entries), std::make_shared<const MixtureSchedule>(std::move(schedule))));
  RETURN_IF_ERROR(sampler->CheckLengths());
  return sampler;
}

absl::StatusOr<std::unique_ptr<Sampler>> Sampler::With(const SamplerOptions& options) const {
  RETURN_IF_ERROR(CheckOptions(options));
  std::unique_ptr<Sampler> sampler(new Sampler(options, entries_, schedule_));
  RETURN_IF_ERROR(sampler->CheckLengths());
  return sampler;
}

absl::Status Sampler::CheckLengths() const {
  for (size_t i = 0; i < entries_.size(); ++i) {
    const TokenStore& store = *entries_[i].store;
    if (whole_[i] == nullptr) {
      RETURN_IF_ERROR(CheckLength(store, options_.seq_len));
    } else if (whole_[i]->num_samples() == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(store.path(),
                       ": no document has two tokens, so nothing can be predicted; "
                       "prepare more text"));
    }
  }
  return absl::OkStatus();
}

std::vector<int64_t> Sampler::Positions(int64_t samples_seen) const {
  std::vector<int64_t> positions;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const int64_t draws = schedule_->Count(static_cast<int32_t>(i), samples_seen);
    positions.push_back((FirstSample(entries_[i]) + draws) * options_.seq_len);
  }
  return positions;
}

Sampler::SampleId Sampler::At(int64_t samples_seen) const {
  const MixtureSchedule::Draw draw = schedule_->At(samples_seen);
  const MixtureEntry& entry = entries_[draw.source];
  const int64_t index = FirstSample(entry) + draw.index;
  const int64_t size = num_samples(draw.source);
  const int64_t epoch = index / size;
  // One permutation per source and epoch.
  const auto key =
      Philox(options_.seed, HashName("window order"),
             (static_cast<uint64_t>(epoch) << 16) | static_cast<uint64_t>(entry.source));
  const uint64_t stream = (static_cast<uint64_t>(key[0]) << 32) | key[1];
  const uint64_t sample = PermuteIndex(options_.seed, stream, size, index % size);
  return {draw.source, epoch, static_cast<int64_t>(sample)};
}

absl::StatusOr<Batch> Sampler::Sample(int64_t samples_seen, int64_t num_samples) const {
  CHECK(samples_seen >= 0 && num_samples > 0);
  Batch batch;
  for (int64_t n = samples_seen; n < samples_seen + num_samples; ++n) {
    const SampleId id = At(n);
    if (const WholeDocuments* documents = whole(id.entry)) {
      RETURN_IF_ERROR(documents->Append(id.sample, options_.boundary, &batch));
    } else {
      const int64_t begin = id.sample * options_.seq_len;
      RETURN_IF_ERROR(AppendSample(*entries_[id.entry].store, begin, begin + options_.seq_len,
                                   options_.boundary, &batch));
    }
    batch.sources.resize(batch.tokens.size(), static_cast<int32_t>(entries_[id.entry].source));
  }
  return batch;
}

std::string Sampler::Manifest() const {
  std::string manifest;
  for (const MixtureEntry& entry : entries_) {
    absl::StrAppend(&manifest, entry.store->path(), " ", entry.store->fingerprint(), " weight ",
                    entry.weight);
    if (entry.packing != SamplePacking::kSplit) {
      absl::StrAppend(&manifest, " packing ", Name(entry.packing));
    }
    manifest.push_back('\n');
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
    // "PATH FINGERPRINT weight WEIGHT", perhaps with "packing PACKING" behind; the path may hold
    // spaces.
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
                                     DocumentBoundary boundary, SamplePacking packing)
    : store_(std::move(store)), seq_len_(seq_len), boundary_(boundary) {
  CHECK(seq_len_ > 0);
  if (packing == SamplePacking::kWhole) {
    whole_ = std::make_shared<const WholeDocuments>(store_, seq_len_);
  }
}

int64_t SequentialSampler::num_samples() const {
  if (whole_ != nullptr) return whole_->num_samples();
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
    if (whole_ != nullptr) {
      RETURN_IF_ERROR(whole_->Append(sample, boundary_, &batch));
      continue;
    }
    const int64_t begin = sample * seq_len_;
    const int64_t end = std::min(begin + seq_len_, store_->num_tokens() - 1);
    RETURN_IF_ERROR(AppendSample(*store_, begin, end, boundary_, &batch));
  }
  return batch;
}

}  // namespace wyvern
