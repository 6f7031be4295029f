#include "autograd/parallel/context_split.h"

#include <algorithm>

namespace wyvern {

ContextSplit::ContextSplit(const std::vector<int32_t>& cu_seqlens, std::vector<int64_t> begins,
                           Communicator* group)
    : group_(group) {
  CHECK(!cu_seqlens.empty() && cu_seqlens.front() == 0, "document offsets start at 0");
  CHECK(begins.size() == static_cast<size_t>(group->size()) + 1 && begins.front() == 0 &&
            begins.back() == cu_seqlens.back() && std::is_sorted(begins.begin(), begins.end()),
        "parts do not divide ", cu_seqlens.back(), " tokens over ", group->size(), " ranks");
  // The document of a token: the last one that starts at it or before, so never an empty one.
  const auto document_of = [&](int64_t token) {
    return std::upper_bound(cu_seqlens.begin(), cu_seqlens.end(), token) - 1;
  };
  for (size_t r = 0; r + 1 < begins.size(); ++r) {
    Part part{.begin = begins[r], .end = begins[r + 1]};
    if (part.size() > 0) {
      const auto first = document_of(part.begin), last = document_of(part.end - 1);
      part.before = part.begin - *first;
      part.after = last[1] - part.end;
      part.one_document = first == last;
    }
    crossed_ |= part.enters();
    parts_.push_back(part);
  }
  documents_ = {0};
  if (own().size() > 0) {
    for (auto document = document_of(own().begin); *document < own().end; ++document) {
      const auto end =
          static_cast<int32_t>(std::min<int64_t>(document[1], own().end) - own().begin);
      if (end > documents_.back()) documents_.push_back(end);
    }
    first_ = MakeOffsets({0, documents_[1]});
    last_ = MakeOffsets({0, documents_.back() - documents_[documents_.size() - 2]});
  }
}

std::vector<int64_t> ContextSplit::EvenParts(int64_t num_tokens, int64_t num_ranks) {
  std::vector<int64_t> begins;
  for (int64_t r = 0; r <= num_ranks; ++r) begins.push_back(num_tokens * r / num_ranks);
  return begins;
}

std::vector<int> ContextSplit::RanksBefore() const {
  std::vector<int> ranks;
  if (!own().enters()) return ranks;
  for (int r = 0; r < rank(); ++r) {
    if (part(r).size() > 0 && part(r).end > own().begin - own().before) ranks.push_back(r);
  }
  return ranks;
}

std::vector<int> ContextSplit::RanksAfter() const {
  std::vector<int> ranks;
  if (!own().leaves()) return ranks;
  for (int r = rank() + 1; r < size(); ++r) {
    if (part(r).size() > 0 && part(r).begin < own().end + own().after) ranks.push_back(r);
  }
  return ranks;
}

ContextSplit::Offsets ContextSplit::MakeOffsets(std::vector<int32_t> host) const {
  const auto size = static_cast<int64_t>(host.size());
  Tensor device = Tensor::FromVector(host, {size}).To(group_->device());
  return {.host = std::move(host), .device = std::move(device)};
}

const ContextSplit::Offsets& ContextSplit::WithRowsBefore(int64_t num_rows) {
  const auto found = with_rows_before_.find(num_rows);
  if (found != with_rows_before_.end()) return found->second;
  std::vector<int32_t> host = documents_;
  for (size_t n = 1; n < host.size(); ++n) host[n] += static_cast<int32_t>(num_rows);
  return with_rows_before_[num_rows] = MakeOffsets(std::move(host));
}

void ContextSplit::Keep(InFlight in_flight) {
  kept_.push_back(std::move(in_flight));
  if (kept_.size() > kMaxKept) kept_.pop_front();
}

}  // namespace wyvern
