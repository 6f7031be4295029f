// Rows of a tensor of tokens that a rank of a CP group needs from the ranks before it: keys
// and values of the document that continues here, the last inputs of a convolution.
#ifndef WYVERN_AUTOGRAD_PARALLEL_ROW_EXCHANGE_H_
#define WYVERN_AUTOGRAD_PARALLEL_ROW_EXCHANGE_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "autograd/parallel/context_split.h"

namespace wyvern {

// Every rank gets the tokens of its first document right before its own, at most `limit` of them,
// from the ranks that have them, be they one or several. All ranks of the group make the same
// calls.
class RowExchange {
 public:
  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
  RowExchange(ContextSplit* split, int64_t limit);

  // The number of rows that this rank gets.
  int64_t num_rows() const { return rows_of(split_->rank()); }
  // No rank gets any: calls do nothing.
  bool idle() const { return idle_; }

  // Starts to fill `rows` [num_rows(), ...] from the ranks' x [own().size(), ...], which may be
  // columns. What this rank sends has been copied when the call returns.
  InFlight Fetch(const Tensor& x, const Tensor& rows) const;

  // The adjoint: starts to give the gradients of fetched rows back to the ranks that have them.
  InFlight Return(const Tensor& d_rows) const;
  // Waits, and adds what has come back to d_x [own().size(), ...], which may be columns: rank by
  // rank in ascending order, in the accumulation dtype, with one rounding at the end.
  void AddReturned(InFlight* returned, const Tensor& d_x) const;

 private:
  int64_t rows_of(int rank) const;
  // Tokens of rank `owner` that rank `reader` gets: the last ones of its part.
  int64_t NumTokens(int owner, int reader) const;
  // The counts by rank, as elements of `row` each: sent from this rank, and to it.
  std::vector<int64_t> SentCounts(int64_t row) const;
  std::vector<int64_t> FetchedCounts(int64_t row) const;

  ContextSplit* split_;
  int64_t limit_;
  bool idle_ = true;
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_PARALLEL_ROW_EXCHANGE_H_
