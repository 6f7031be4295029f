// Samples that hold whole documents, for conversations that must not be split.
#ifndef WYVERN_DATA_SAMPLING_WHOLE_DOCUMENTS_H_
#define WYVERN_DATA_SAMPLING_WHOLE_DOCUMENTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "data/sampling/batch.h"
#include "data/sampling/document_boundary.h"
#include "data/store/token_store.h"

namespace wyvern {

// A store's documents packed into samples of seq_len tokens, best fit decreasing (Ding et al.,
// arXiv 2404.10830): the longest first, each into the fullest sample that has room for it. Equal
// ones follow the store's order, so the samples are a function of the lengths alone. A document
// longer than seq_len is cut: its first seq_len tokens are a sample. Documents of less than two
// tokens are left out, as they predict nothing. 8 bytes of memory a document.
class WholeDocuments {
 public:
  WholeDocuments(std::shared_ptr<const TokenStore> store, int64_t seq_len);

  int64_t num_samples() const { return static_cast<int64_t>(first_.size()) - 1; }
  // The numbers of a sample's documents, in the sample's order.
  absl::Span<const int64_t> DocumentsOf(int64_t sample) const;
  int64_t num_documents() const { return static_cast<int64_t>(documents_.size()); }
  int64_t num_cut() const { return num_cut_; }  // documents longer than seq_len
  // The share of the samples' tokens that are no padding.
  double Fill() const;

  // Appends a sample. No target crosses documents, nor counts in the padding: tokens of eos (0 in a
  // store without it) that fill the sample up, as a sequence of their own. kNone: the documents
  // are one sequence.
  absl::Status Append(int64_t sample, DocumentBoundary boundary, Batch* batch) const;

 private:
  int64_t LengthOf(int64_t document) const;  // in its sample

  std::shared_ptr<const TokenStore> store_;
  int64_t seq_len_;
  int64_t num_cut_ = 0;
  std::vector<int64_t> documents_;  // sample by sample
  std::vector<int64_t> first_;      // [num_samples + 1] where each sample begins in documents_
};

}  // namespace wyvern

#endif  // WYVERN_DATA_SAMPLING_WHOLE_DOCUMENTS_H_
