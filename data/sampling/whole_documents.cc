#include "data/sampling/whole_documents.h"

#include <algorithm>
#include <climits>
#include <map>
#include <numeric>
#include <utility>

#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {

WholeDocuments::WholeDocuments(std::shared_ptr<const TokenStore> store, int64_t seq_len)
    : store_(std::move(store)), seq_len_(seq_len) {
  CHECK(seq_len_ > 0);
  const absl::Span<const int64_t> offsets = store_->document_offsets();
  std::vector<int64_t> longest_first;
  for (int64_t d = 0; d < store_->num_documents(); ++d) {
    if (offsets[d + 1] - offsets[d] >= 2) longest_first.push_back(d);
    if (offsets[d + 1] - offsets[d] > seq_len_) ++num_cut_;
  }
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [this](int64_t a, int64_t b) { return LengthOf(a) > LengthOf(b); });

  std::vector<int64_t> sample_of(longest_first.size());
  std::map<int64_t, std::vector<int64_t>> by_room;  // the samples that have this many tokens left
  int64_t num_samples = 0;
  for (size_t i = 0; i < longest_first.size(); ++i) {
    const int64_t length = LengthOf(longest_first[i]);
    const auto fullest = by_room.lower_bound(length);
    int64_t room = seq_len_;
    if (fullest == by_room.end()) {
      sample_of[i] = num_samples++;
    } else {
      room = fullest->first;
      sample_of[i] = fullest->second.back();
      fullest->second.pop_back();
      if (fullest->second.empty()) by_room.erase(fullest);
    }
    if (room > length) by_room[room - length].push_back(sample_of[i]);
  }

  first_.assign(static_cast<size_t>(num_samples) + 1, 0);
  for (const int64_t sample : sample_of) ++first_[static_cast<size_t>(sample) + 1];
  std::partial_sum(first_.begin(), first_.end(), first_.begin());
  std::vector<int64_t> next(first_.begin(), first_.end() - 1);
  documents_.resize(longest_first.size());
  for (size_t i = 0; i < longest_first.size(); ++i) {
    documents_[static_cast<size_t>(next[static_cast<size_t>(sample_of[i])]++)] = longest_first[i];
  }
}

int64_t WholeDocuments::LengthOf(int64_t document) const {
  const absl::Span<const int64_t> offsets = store_->document_offsets();
  return std::min(offsets[document + 1] - offsets[document], seq_len_);
}

absl::Span<const int64_t> WholeDocuments::DocumentsOf(int64_t sample) const {
  CHECK(0 <= sample && sample < num_samples());
  const int64_t begin = first_[static_cast<size_t>(sample)];
  return absl::MakeConstSpan(documents_)
      .subspan(static_cast<size_t>(begin),
               static_cast<size_t>(first_[static_cast<size_t>(sample) + 1] - begin));
}

double WholeDocuments::Fill() const {
  int64_t tokens = 0;
  for (const int64_t document : documents_) tokens += LengthOf(document);
  return num_samples() == 0 ? 0
                            : static_cast<double>(tokens) / static_cast<double>(num_samples()) /
                                  static_cast<double>(seq_len_);
}

absl::Status WholeDocuments::Append(int64_t sample, DocumentBoundary boundary, Batch* batch) const {
  CHECK(batch->num_tokens() + seq_len_ <= INT_MAX, "cu_seqlens are 32 bits wide");
  if (batch->cu_seqlens.empty()) batch->cu_seqlens.push_back(0);
  const auto end_sequence = [batch] {
    const auto end = static_cast<int32_t>(batch->tokens.size());
    if (batch->cu_seqlens.back() < end) batch->cu_seqlens.push_back(end);
  };
  const size_t full = batch->tokens.size() + static_cast<size_t>(seq_len_);
  for (const int64_t document : DocumentsOf(sample)) {
    const int64_t begin = store_->document_offsets()[document], length = LengthOf(document);
    const size_t at = batch->tokens.size();
    batch->tokens.resize(at + static_cast<size_t>(length));
    RETURN_IF_ERROR(store_->Read(begin, begin + length, batch->tokens.data() + at));
    std::vector<uint8_t> learnt(static_cast<size_t>(length), 1);
    if (store_->has_learnt()) {
      RETURN_IF_ERROR(store_->ReadLearnt(begin, begin + length, learnt.data()));
    }
    for (size_t t = 1; t < learnt.size(); ++t) {
      batch->targets.push_back(learnt[t] == 1 ? batch->tokens[at + t] : kIgnoredTarget);
    }
    batch->targets.push_back(kIgnoredTarget);
    if (boundary == DocumentBoundary::kReset) end_sequence();
  }
  end_sequence();
  batch->tokens.resize(full, store_->info().eos_id.value_or(0));
  batch->targets.resize(full, kIgnoredTarget);
  end_sequence();
  return absl::OkStatus();
}

}  // namespace wyvern
