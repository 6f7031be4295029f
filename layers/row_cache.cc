#include "layers/row_cache.h"

#include <algorithm>
#include <limits>

#include "autograd/ops/head/embedding.h"
#include "layers/mixer_cache.h"

namespace wyvern {
namespace {

Tensor Table(int64_t rows, const Shape& row_shape, const Tensor& like) {
  Shape shape = {rows};
  shape.insert(shape.end(), row_shape.begin(), row_shape.end());
  return Tensor::Empty(shape, like.dtype(), like.device());
}

}  // namespace

int64_t RowCache::NumRows(const Runs& runs) {
  int64_t rows = 0;
  for (const Run& run : runs) rows += run.end - run.begin;
  return rows;
}

void RowCache::Add(Run run, Runs* runs) {
  if (run.begin == run.end) return;
  if (!runs->empty() && runs->back().end == run.begin) {
    runs->back().end = run.end;
  } else {
    runs->push_back(run);
  }
}

RowCache::Runs RowCache::InOrder() const {
  Runs all;
  for (const Runs& runs : runs_) {
    for (const Run& run : runs) Add(run, &all);
  }
  return all;
}

std::vector<Tensor> RowCache::Gather(const Runs& runs) const {
  std::vector<Tensor> gathered;
  if (runs.size() <= 1) {
    const Run run = runs.empty() ? Run{0, 0} : runs[0];
    for (const Tensor& table : tables_) gathered.push_back(table.Rows(run.begin, run.end));
    return gathered;
  }
  std::vector<int32_t> rows;
  for (const Run& run : runs) {
    for (int64_t row = run.begin; row < run.end; ++row) rows.push_back(static_cast<int32_t>(row));
  }
  const auto size = static_cast<int64_t>(rows.size());
  const Tensor ids = Tensor::FromVector(rows, {size}).To(tables_[0].device());
  for (const Tensor& table : tables_) {
    Shape shape = table.shape();
    shape[0] = size;
    gathered.push_back(
        Embedding::Forward({.weight = table.Reshape({table.dim(0), -1})}, {.ids = ids}, nullptr)
            .y.Reshape(shape));
  }
  return gathered;
}

void RowCache::Grow(int64_t added, const std::vector<Shape>& row_shapes, const Tensor& like,
                    int64_t reserved) {
  // The old rows that are still in use, each once, and what becomes of them.
  std::vector<int32_t> moved(end_, -1);
  Runs kept;
  int64_t live = 0;
  std::vector<Runs> runs(runs_.size());
  for (size_t i = 0; i < runs_.size(); ++i) {
    for (const Run& run : runs_[i]) {
      for (int64_t row = run.begin; row < run.end; ++row) {
        if (moved[row] < 0) {
          moved[row] = static_cast<int32_t>(live++);
          Add({row, row + 1}, &kept);
        }
        Add({moved[row], moved[row] + 1}, &runs[i]);
      }
    }
  }
  const int64_t capacity = CacheCapacity(live + added, reserved);
  CHECK(capacity <= std::numeric_limits<int32_t>::max(), "a cache of ", capacity, " rows");
  std::vector<Tensor> old = Gather(kept);
  tables_.resize(row_shapes.size());
  for (size_t i = 0; i < tables_.size(); ++i) {
    tables_[i] = Table(capacity, row_shapes[i], like);
    if (live == 0) continue;
    tables_[i].Rows(0, live).CopyFrom(old[i]);
    old[i] = Tensor();
  }
  runs_ = std::move(runs);
  end_ = live;
}

std::vector<Tensor> RowCache::Extend(absl::Span<const int32_t> cu_seqlens,
                                     const std::vector<Shape>& row_shapes, const Tensor& like,
                                     int64_t window) {
  CHECK(cu_seqlens.size() == runs_.size() + 1, "offsets of ", cu_seqlens.size() - 1,
        " sequences for a cache of ", runs_.size());
  const int64_t added = cu_seqlens.back();
  for (Runs& runs : runs_) {
    if (window == 0) continue;
    int64_t surplus = NumRows(runs) - (window - 1);
    while (surplus > 0) {
      const int64_t dropped = std::min(surplus, runs[0].end - runs[0].begin);
      runs[0].begin += dropped;
      surplus -= dropped;
      if (runs[0].begin == runs[0].end) runs.erase(runs.begin());
    }
  }
  const bool shared = std::any_of(tables_.begin(), tables_.end(),
                                  [](const Tensor& table) { return !table.unique(); });
  if (tables_.empty() || shared || end_ + added > tables_[0].dim(0)) {
    // With a window, no more than it and the added tokens is ever kept.
    Grow(added, row_shapes, like, window > 0 ? 0 : reserved_ * num_sequences());
  }
  for (size_t i = 0; i < runs_.size(); ++i) {
    Add({end_ + cu_seqlens[i], end_ + cu_seqlens[i + 1]}, &runs_[i]);
  }
  std::vector<Tensor> places;
  for (const Tensor& table : tables_) places.push_back(table.Rows(end_, end_ + added));
  end_ += added;
  return places;
}

RowCache::View RowCache::Rows() const {
  View view{.tables = {}, .cu_seqlens = {0}};
  for (const Runs& runs : runs_) {
    view.cu_seqlens.push_back(view.cu_seqlens.back() + static_cast<int32_t>(NumRows(runs)));
  }
  view.tables = Gather(InOrder());
  return view;
}

RowCache RowCache::Select(absl::Span<const int64_t> sequences) const {
  RowCache selected(static_cast<int64_t>(sequences.size()));
  selected.reserved_ = reserved_;
  for (size_t i = 0; i < sequences.size(); ++i) selected.runs_[i] = runs_[sequences[i]];
  selected.tables_ = tables_;
  selected.end_ = end_;
  if (sequences.size() == 1 && defined()) {
    std::vector<Shape> row_shapes;
    for (const Tensor& table : tables_) {
      row_shapes.emplace_back(table.shape().begin() + 1, table.shape().end());
    }
    selected.Grow(0, row_shapes, tables_[0], reserved_);
  }
  return selected;
}

void RowCache::FillRandom(int64_t num_tokens, uint64_t seed,
                          const std::vector<std::string>& names) {
  CHECK(num_sequences() == 1, "a cache of ", num_sequences(), " sequences");
  CHECK(defined(), "nothing is cached yet");
  const int64_t capacity = CacheCapacity(num_tokens, std::max(num_tokens, reserved_));
  for (size_t i = 0; i < tables_.size(); ++i) {
    tables_[i] = RandomRows(tables_[i], num_tokens, capacity, seed, names[i]);
  }
  runs_[0] = {{0, num_tokens}};
  end_ = num_tokens;
}

int64_t RowCache::num_bytes() const {
  int64_t bytes = 0;
  for (const Tensor& table : tables_) bytes += HeldBytes(table);
  return bytes;
}

}  // namespace wyvern
