#include "layers/row_cache.h"

#include <algorithm>
#include <limits>

#include "autograd/ops/head/embedding.h"
#include "kernels/pointwise/elementwise.h"

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
  places_.clear();
}

bool RowCache::Shared() const {
  return std::any_of(tables_.begin(), tables_.end(),
                     [](const Tensor& table) { return !table.unique(); });
}

std::vector<Shape> RowCache::RowShapes() const {
  std::vector<Shape> row_shapes;
  for (const Tensor& table : tables_) {
    row_shapes.emplace_back(table.shape().begin() + 1, table.shape().end());
  }
  return row_shapes;
}

void RowCache::DropUnseen(int64_t window, Runs* runs) {
  if (window == 0) return;
  int64_t surplus = NumRows(*runs) - (window - 1);
  while (surplus > 0) {
    Run& first = runs->front();
    const int64_t dropped = std::min(surplus, first.end - first.begin);
    first.begin += dropped;
    surplus -= dropped;
    if (first.begin == first.end) runs->erase(runs->begin());
  }
}

std::vector<Tensor> RowCache::Extend(absl::Span<const int32_t> cu_seqlens,
                                     const std::vector<Shape>& row_shapes, const Tensor& like,
                                     int64_t window) {
  CHECK(cu_seqlens.size() == runs_.size() + 1, "offsets of ", cu_seqlens.size() - 1,
        " sequences for a cache of ", runs_.size());
  const int64_t added = cu_seqlens.back();
  for (Runs& runs : runs_) DropUnseen(window, &runs);
  places_.clear();
  if (tables_.empty() || Shared() || end_ + added > tables_[0].dim(0)) {
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

RowCache::Run RowCache::Place(size_t sequence) const {
  if (!places_.empty()) return places_[sequence];
  const Runs& runs = runs_[sequence];
  // One sequence alone has all of the tables.
  const bool all = num_sequences() == 1 && runs.size() == 1 && runs[0].end == end_;
  return all ? Run{0, tables_[0].dim(0)} : Run{0, 0};
}

void RowCache::Spread(int64_t reserved) {
  if (num_sequences() == 1) return Grow(1, RowShapes(), tables_[0], reserved);
  Runs places, runs;
  int64_t end = 0;
  for (const Runs& of_sequence : runs_) {
    const int64_t rows = NumRows(of_sequence);
    places.push_back({end, end + CacheCapacity(rows + 1, reserved)});
    runs.push_back({end, end + rows});
    end = places.back().end;
  }
  CHECK(end <= std::numeric_limits<int32_t>::max(), "a cache of ", end, " rows");
  const std::vector<Shape> row_shapes = RowShapes();
  std::vector<Tensor> old = Gather(InOrder());
  for (size_t t = 0; t < tables_.size(); ++t) {
    tables_[t] = Table(end, row_shapes[t], tables_[t]);
    int64_t from = 0;
    for (const Run& run : runs) {
      const int64_t rows = run.end - run.begin;
      tables_[t].Rows(run.begin, run.end).CopyFrom(old[t].Rows(from, from + rows));
      from += rows;
    }
    old[t] = Tensor();
  }
  for (size_t i = 0; i < runs_.size(); ++i) runs_[i] = {runs[i]};
  places_ = std::move(places);
  end_ = end;
}

bool RowCache::MoveToFront(size_t sequence) {
  Run& run = runs_[sequence][0];
  const Run place = Place(sequence);
  const int64_t rows = run.end - run.begin;
  if (run.begin - place.begin < std::max<int64_t>(rows, 1)) return false;
  const Run moved = {place.begin, place.begin + rows};
  for (const Tensor& table : tables_) {
    table.Rows(moved.begin, moved.end).CopyFrom(table.Rows(run.begin, run.end));
  }
  run = moved;
  return true;
}

void RowCache::PrepareStep(int64_t window, const MixerCache::StepMemory& memory) {
  CHECK(defined(), "a step before the first tokens");
  bool room = !Shared();
  for (size_t i = 0; i < runs_.size(); ++i) {
    Runs& runs = runs_[i];
    const Run place = Place(i);
    DropUnseen(window, &runs);
    if (runs.empty() && place.end > place.begin) runs.push_back({place.begin, place.begin});
    room = room && runs.size() == 1 && place.end > place.begin &&
           (runs[0].end < place.end || MoveToFront(i));
  }
  if (!room) Spread(window > 0 ? 0 : reserved_);
  const size_t n = runs_.size();
  for (size_t i = 0; i < n; ++i) {
    if (runs_[i].empty()) runs_[i].push_back({Place(i).begin, Place(i).begin});
    Run& run = runs_[i][0];
    memory.numbers_host[i] = static_cast<int32_t>(run.end++);
    memory.numbers_host[n + i] = static_cast<int32_t>(run.begin);
    memory.numbers_host[2 * n + i] = static_cast<int32_t>(run.end);
  }
  if (n == 1) end_ = runs_[0][0].end;
  step_numbers_ = memory.numbers.Reshape({3, num_sequences()});
  for (const Tensor& table : tables_) AddAddress(table, memory.addresses);
}

void RowCache::Put(size_t table, const Tensor& x, int64_t column) const {
  const Tensor& to = tables_[table];
  CHECK(x.dim(0) == num_sequences() && x.dtype() == to.dtype(), "rows ", ToString(x.shape()),
        " for ", num_sequences(), " sequences");
  const int64_t size = SizeOf(x.dtype()), width = x.numel() / x.dim(0);
  CHECK(column + width <= to.row_stride(), "rows of ", width, " behind ", column, " in ",
        ToString(to.shape()));
  PutRows(to.device(), static_cast<char*>(to.raw()) + column * size, to.row_stride() * size,
          step_numbers_.data<int32_t>(), x.address(), x.row_stride() * size, x.dim(0), width * size,
          ComputeStream());
}

RowCache::Ranges RowCache::StepRanges() const {
  Ranges ranges{.begins = step_numbers_.Rows(1, 2).Reshape({-1}),
                .ends = step_numbers_.Rows(2, 3).Reshape({-1}),
                .begins_host = {},
                .ends_host = {}};
  for (const Runs& runs : runs_) {
    ranges.begins_host.push_back(static_cast<int32_t>(runs[0].begin));
    ranges.ends_host.push_back(static_cast<int32_t>(runs[0].end));
  }
  return ranges;
}

RowCache RowCache::Select(absl::Span<const int64_t> sequences) const {
  RowCache selected(static_cast<int64_t>(sequences.size()));
  selected.reserved_ = reserved_;
  for (size_t i = 0; i < sequences.size(); ++i) selected.runs_[i] = runs_[sequences[i]];
  selected.tables_ = tables_;
  selected.end_ = end_;
  if (sequences.size() == 1 && defined()) selected.Grow(0, RowShapes(), tables_[0], reserved_);
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
  places_.clear();
}

int64_t RowCache::num_bytes() const {
  int64_t bytes = 0;
  for (const Tensor& table : tables_) bytes += HeldBytes(table);
  return bytes;
}

}  // namespace wyvern
