// Training and validation batches. A batch is a pure function of (seed, samples seen, stores):
// nothing else is kept, so a resumed run continues with the very tokens it would have seen.
#ifndef WYVERN_DATA_SAMPLING_SAMPLER_H_
#define WYVERN_DATA_SAMPLING_SAMPLER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "data/sampling/batch.h"
#include "data/sampling/document_boundary.h"
#include "data/sampling/mixture.h"
#include "data/sampling/sample_packing.h"
#include "data/sampling/whole_documents.h"
#include "data/store/token_store.h"

namespace wyvern {

// One store of a mixture.
struct MixtureEntry {
  std::shared_ptr<TokenStore> store;
  double weight = 0;  // share of the tokens, relative to the others; all 0: by size
  // Its number in the run, below 65536. With the seed it decides the order of the samples, so that
  // a store which several mixtures of a run share continues in one order.
  int64_t source = 0;
  int64_t position = 0;  // tokens of this order that the run read before the mixture
  SamplePacking packing = SamplePacking::kSplit;
};

struct SamplerOptions {
  int64_t seq_len = 2048;  // tokens of a sample, apart from the last one's target
  uint64_t seed = 1;
  DocumentBoundary boundary = DocumentBoundary::kNone;
};

// Samples [j seq_len, (j + 1) seq_len] of each store (the last token is a target only; a shorter
// rest is left out). Each store is gone through again and again, every epoch in another order: a
// permutation keyed by (seed, source, epoch), of constant memory. A store begins at the first
// sample that lies wholly behind its position. Sample may be called by any thread.
class Sampler {
 public:
  // Errors: a store that is shorter than seq_len + 1 tokens, or for whole documents has none of two
  // tokens; one that has another tokenizer than the first; bad weights; a source beyond 65535.
  static absl::StatusOr<std::unique_ptr<Sampler>> Make(std::vector<MixtureEntry> entries,
                                                       const SamplerOptions& options);

  // The same mixture with other options. Samples of another length have an order of their own.
  absl::StatusOr<std::unique_ptr<Sampler>> With(const SamplerOptions& options) const;

  // The samples numbered [samples_seen, samples_seen + num_samples) of the mixture.
  absl::StatusOr<Batch> Sample(int64_t samples_seen, int64_t num_samples) const;

  const SamplerOptions& options() const { return options_; }
  const std::vector<MixtureEntry>& entries() const { return entries_; }
  int64_t num_samples(int64_t entry) const {
    const WholeDocuments* documents = whole(entry);
    return documents != nullptr ? documents->num_samples()
                                : (entries_[entry].store->num_tokens() - 1) / options_.seq_len;
  }
  // The documents of an entry that is packed whole, else null.
  const WholeDocuments* whole(int64_t entry) const {
    return whole_[static_cast<size_t>(entry)].get();
  }
  // The position of each entry once samples_seen samples of the mixture are read: a multiple of
  // seq_len, from which another mixture continues.
  std::vector<int64_t> Positions(int64_t samples_seen) const;
  // One line per store (path, fingerprint, weight, packing unless split), which a run that resumes
  // compares by ManifestDifference.
  std::string Manifest() const;

  struct SampleId {
    int32_t entry;
    int64_t epoch;   // of that entry's store
    int64_t sample;  // in [0, num_samples(entry))
  };
  SampleId At(int64_t samples_seen) const;

 private:
  Sampler(SamplerOptions options, std::vector<MixtureEntry> entries,
          std::shared_ptr<const MixtureSchedule> schedule);
  absl::Status CheckLengths() const;
  // The number of the entry's first sample in its order.
  int64_t FirstSample(const MixtureEntry& entry) const {
    return (entry.position + options_.seq_len - 1) / options_.seq_len;
  }

  SamplerOptions options_;
  std::vector<MixtureEntry> entries_;  // with their weights resolved
  std::vector<std::shared_ptr<const WholeDocuments>> whole_;
  std::shared_ptr<const MixtureSchedule> schedule_;  // of the weights
};

// A store from its first token to its last, in order: sample j holds the inputs
// [j seq_len, (j + 1) seq_len) and the last sample is shorter. Every token but the first is a
// target once (kReset: but the first of each document). Packed whole, the samples are those of
// WholeDocuments.
class SequentialSampler {
 public:
  SequentialSampler(std::shared_ptr<TokenStore> store, int64_t seq_len, DocumentBoundary boundary,
                    SamplePacking packing = SamplePacking::kSplit);

  int64_t num_samples() const;  // 0 if no document, or for kSplit the store, holds two tokens
  // Samples [first, first + num_samples), cut at the end of the store.
  absl::StatusOr<Batch> Sample(int64_t first, int64_t num_samples) const;
  // These samples, in this order.
  absl::StatusOr<Batch> Sample(absl::Span<const int64_t> samples) const;

 private:
  std::shared_ptr<TokenStore> store_;
  int64_t seq_len_;
  DocumentBoundary boundary_;
  std::shared_ptr<const WholeDocuments> whole_;
};

// Permutes [0, size): a Feistel network on Philox over the next power of four, walked until the
// result falls inside. 0 <= index < size.
uint64_t PermuteIndex(uint64_t seed, uint64_t stream, uint64_t size, uint64_t index);

// How the stores of two manifests differ: in number, order, content or weight, not in where they
// lie. Empty: in nothing, so that a run's place in the one means the same in the other.
std::string ManifestDifference(absl::string_view now, absl::string_view then);

}  // namespace wyvern

#endif  // WYVERN_DATA_SAMPLING_SAMPLER_H_
