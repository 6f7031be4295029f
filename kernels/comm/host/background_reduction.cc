#include "kernels/comm/host/background_reduction.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

const std::string& What() {
  static const std::string* what = new std::string("agreement over 'world'");
  return *what;
}

}  // namespace

BackgroundReduction::BackgroundReduction(Transport* transport, std::vector<ReduceOp> ops)
    : transport_(transport), ops_(std::move(ops)) {}

void BackgroundReduction::Start(const std::vector<int64_t>& own) {
  CHECK(!running_, "a reduction is running already");
  CHECK(own.size() == ops_.size(), own.size(), " numbers for ", ops_.size());
  running_ = true;
  more_ = own;
  fewer_.clear();
  for (const ReduceOp op : ops_) {
    fewer_.push_back(op == ReduceOp::kSum ? 0 : std::numeric_limits<int64_t>::min());
  }
  num_ranks_ = 0;
  rounds_left_ = 0;
  const int size = transport_ == nullptr ? 1 : transport_->size();
  while (((size - 1) >> rounds_left_) != 0) ++rounds_left_;
  if (rounds_left_ > 0) PostRound();
}

BackgroundReduction::Round BackgroundReduction::NextRound() const {
  const int size = transport_->size();
  const bool odd = (((size - 1) >> (rounds_left_ - 1)) & 1) != 0;
  return {.odd = odd,
          .distance = num_ranks_ + (odd ? 1 : 0),
          .num_parts = num_ranks_ == 0 || rounds_left_ == 1 ? size_t{1} : size_t{2}};
}

void BackgroundReduction::PostRound() {
  const Round round = NextRound();
  std::vector<int64_t> sent = more_;
  if (round.num_parts == 2) sent.insert(sent.end(), fewer_.begin(), fewer_.end());
  const int size = transport_->size();
  transport_->Post({(transport_->rank() - round.distance + size) % size, sent.data(),
                    sent.size() * sizeof(int64_t)},
                   What());
}

void BackgroundReduction::Advance(bool wait) {
  while (running_ && rounds_left_ > 0) {
    const Round round = NextRound();
    const size_t n = ops_.size();
    // The other rank tells of m + 1 ranks, and then of m.
    std::vector<int64_t> other(n * round.num_parts);
    const Transport::Message message = {(transport_->rank() + round.distance) % transport_->size(),
                                        other.data(), other.size() * sizeof(int64_t)};
    if (!transport_->Take(message, wait, What())) return;
    // The own part has m ranks, and m + 1 where the bit is 1; the other's follow behind it.
    if (round.odd) fewer_ = more_;
    const std::vector<int64_t> own = fewer_;
    more_ = Reduced(own, other.data());
    if (round.num_parts == 2) fewer_ = Reduced(own, other.data() + n);
    num_ranks_ = 2 * num_ranks_ + (round.odd ? 1 : 0);
    if (--rounds_left_ > 0) PostRound();
  }
}

std::vector<int64_t> BackgroundReduction::Reduced(std::vector<int64_t> own,
                                                  const int64_t* more) const {
  for (size_t i = 0; i < own.size(); ++i) {
    own[i] = ops_[i] == ReduceOp::kSum ? own[i] + more[i] : std::max(own[i], more[i]);
  }
  return own;
}

const std::vector<int64_t>& BackgroundReduction::Finish() {
  CHECK(running_, "no reduction is running");
  Advance(/*wait=*/true);
  running_ = false;
  ++num_finished_;
  return more_;
}

}  // namespace wyvern
