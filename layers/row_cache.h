#ifndef WYVERN_LAYERS_ROW_CACHE_H_
#define WYVERN_LAYERS_ROW_CACHE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "autograd/tensor.h"
#include "layers/mixer_cache.h"

namespace wyvern {

// For caches that keep rows for every token of N sequences: keys and values, latent vectors. All
// tables have the same rows in use, in the order in which they came; each sequence knows the runs
// of rows that are its own. So sequences with a common beginning share its rows, and one sequence
// alone is read where it lies.
class RowCache {
 public:
  explicit RowCache(int64_t num_sequences) : runs_(num_sequences) {}

  int64_t num_sequences() const { return static_cast<int64_t>(runs_.size()); }
  bool defined() const { return !tables_.empty(); }
  void Reserve(int64_t num_tokens) { reserved_ = num_tokens; }  // of each sequence

  // Makes room for a row of each of T new tokens and returns the place for them in each table, [T,
  // ...]: tokens [cu_seqlens[i], cu_seqlens[i + 1]) belong to sequence i. The other arguments are
  // the same in all calls: of a table, the shape of a row; of all, what `like` has. With a window,
  // rows that no new token sees are dropped first. Memory grows geometrically.
  std::vector<Tensor> Extend(absl::Span<const int32_t> cu_seqlens,
                             const std::vector<Shape>& row_shapes, const Tensor& like,
                             int64_t window = 0);

  // The rows of sequence after sequence; those of sequence i are [cu_seqlens[i], cu_seqlens[i +
  // 1]). With one sequence a view, else a copy where they do not lie in this order.
  struct View {
    std::vector<Tensor> tables;
    std::vector<int32_t> cu_seqlens;  // [N + 1]
  };
  View Rows() const;

  // Steps of one token of each sequence (MixerCache::PrepareStep). Each sequence then has a place
  // of its own with room behind its rows, into which Put writes the new one; rows move only when
  // there is no room. A window drops rows as in Extend.
  int64_t num_step_numbers() const { return 3 * num_sequences(); }
  void PrepareStep(int64_t window, const MixerCache::StepMemory& memory);
  // Row i of x [N, ...] becomes the new row of sequence i in `table`, from its element `column` on.
  void Put(size_t table, const Tensor& x, int64_t column = 0) const;
  const Tensor& table(size_t i) const { return tables_[i]; }
  // The rows of each sequence, the new one included: [begins[i], ends[i]).
  struct Ranges {
    Tensor begins, ends;  // [N] int32 on the device
    std::vector<int32_t> begins_host, ends_host;
  };
  Ranges StepRanges() const;

  // Sequence i of the result continues sequences[i] of this one. One sequence alone is copied, more
  // share memory until one of the caches grows.
  RowCache Select(absl::Span<const int64_t> sequences) const;

  // Random rows in the place of those of the one sequence, which has some.
  void FillRandom(int64_t num_tokens, uint64_t seed, const std::vector<std::string>& names);
  int64_t num_bytes() const;

 private:
  struct Run {
    int64_t begin, end;
  };
  using Runs = std::vector<Run>;
  static int64_t NumRows(const Runs& runs);
  static void Add(Run run, Runs* runs);
  // The rows of the runs in each table; of one run a view.
  std::vector<Tensor> Gather(const Runs& runs) const;
  // The rows of all sequences, one behind another.
  Runs InOrder() const;
  // Drops what is no sequence's own from tables that then have room for `added` more rows.
  void Grow(int64_t added, const std::vector<Shape>& row_shapes, const Tensor& like,
            int64_t reserved);
  bool Shared() const;  // whether another cache has the same tables
  std::vector<Shape> RowShapes() const;
  // Drops the first rows of a sequence that no new token sees.
  static void DropUnseen(int64_t window, Runs* runs);
  // The place of a sequence: its rows, which are one run, and free ones behind them up to the end.
  // Empty if there is none.
  Run Place(size_t sequence) const;
  // Gives every sequence a place with room for more rows.
  void Spread(int64_t reserved);
  // Makes room where a window has passed over the first half of a place; false if that is no room.
  bool MoveToFront(size_t sequence);

  std::vector<Tensor> tables_;  // [capacity, ...] each
  std::vector<Runs> runs_;      // of each sequence
  int64_t end_ = 0;             // rows in use
  int64_t reserved_ = 0;
  Runs places_;          // after Spread
  Tensor step_numbers_;  // [3, N]: new rows, begins, ends
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_ROW_CACHE_H_
