#include "autograd/parallel/row_exchange.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "kernels/pointwise/elementwise.h"

namespace wyvern {
namespace {

int64_t Sum(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

// Elements of a row, also where there are no rows.
int64_t RowSize(const Tensor& x) {
  return std::accumulate(x.shape().begin() + 1, x.shape().end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

RowExchange::RowExchange(ContextSplit* split, int64_t limit) : split_(split), limit_(limit) {
  for (int r = 0; r < split_->size(); ++r) idle_ &= rows_of(r) == 0;
}

int64_t RowExchange::rows_of(int rank) const { return std::min(split_->part(rank).before, limit_); }

int64_t RowExchange::NumTokens(int owner, int reader) const {
  const ContextSplit::Part &from = split_->part(owner), &to = split_->part(reader);
  if (owner >= reader) return 0;
  return std::max<int64_t>(0, from.end - std::max(from.begin, to.begin - rows_of(reader)));
}

std::vector<int64_t> RowExchange::SentCounts(int64_t row) const {
  std::vector<int64_t> counts;
  for (int r = 0; r < split_->size(); ++r) counts.push_back(NumTokens(split_->rank(), r) * row);
  return counts;
}

std::vector<int64_t> RowExchange::FetchedCounts(int64_t row) const {
  std::vector<int64_t> counts;
  for (int r = 0; r < split_->size(); ++r) counts.push_back(NumTokens(r, split_->rank()) * row);
  return counts;
}

InFlight RowExchange::Fetch(const Tensor& x, const Tensor& rows) const {
  const int64_t T = x.dim(0), row = RowSize(x);
  const std::vector<int64_t> sent = SentCounts(row), fetched = FetchedCounts(row);
  const Tensor out = Tensor::Empty({row == 0 ? 0 : Sum(sent) / row, row}, x.dtype(), x.device());
  int64_t place = 0;
  for (int r = 0; r < split_->size(); ++r) {
    const int64_t count = NumTokens(split_->rank(), r);
    if (count == 0) continue;
    const Tensor from = x.Rows(T - count, T);
    out.Rows(place, place + count).CopyFrom(from.Reshape({count, row}));
    place += count;
  }
  // No rows may still be columns of something.
  void* const into = rows.numel() == 0 ? nullptr : rows.raw();
  Pending pending = split_->group().AllToAll(out.raw(), sent, into, fetched, x.dtype());
  return {{out, rows}, std::move(pending)};
}

InFlight RowExchange::Return(const Tensor& d_rows) const {
  const int64_t row = RowSize(d_rows);
  const std::vector<int64_t> back = SentCounts(row), given = FetchedCounts(row);
  const Tensor in = Tensor::Empty({Sum(back)}, d_rows.dtype(), d_rows.device());
  const Tensor out = d_rows.Contiguous();
  Pending pending = split_->group().AllToAll(out.raw(), given, in.raw(), back, in.dtype());
  return {{in, out}, std::move(pending)};
}

void RowExchange::AddReturned(InFlight* returned, const Tensor& d_x) const {
  const int64_t T = d_x.dim(0), row = RowSize(d_x);
  int64_t longest = 0;
  for (int r = 0; r < split_->size(); ++r) {
    longest = std::max(longest, NumTokens(split_->rank(), r));
  }
  if (longest == 0) return;
  returned->pending.Wait();
  const Tensor& in = returned->buffers.front();
  const Tensor tail = d_x.Rows(T - longest, T).Reshape({longest, row});
  const Tensor sum = Tensor::Empty({longest, row}, AccDType(d_x.dtype()), d_x.device());
  sum.CopyFrom(tail);
  int64_t place = 0;
  for (int r = 0; r < split_->size(); ++r) {
    const int64_t count = NumTokens(split_->rank(), r);
    if (count == 0) continue;
    AddInto(d_x.device(), sum.Rows(longest - count, longest).raw(), sum.dtype(),
            in.Rows(place, place + count * row).raw(), in.dtype(), count * row, ComputeStream());
    place += count * row;
  }
  tail.CopyFrom(sum);
}

}  // namespace wyvern
