// One launch over many tensors: their table travels as a kernel argument, and each block works on
// one chunk of one tensor. Nothing is copied to the device, so a launch never waits.
#pragma once

#include <cstdint>

#include "kernels/common/vector.cuh"

namespace wyvern {

// Entry: num_elements, first_block and vectorise are filled in here. kMaxTensors keeps the table
// below the 4 KiB that every driver takes as kernel arguments.
template <typename Entry>
struct TensorTable {
  static constexpr int kMaxTensors = 3584 / sizeof(Entry);
  int num_tensors = 0;
  Entry entries[kMaxTensors];
};

// The entry whose chunks hold block `block`; every block has one.
template <typename Entry>
__device__ __forceinline__ const Entry& FindTensor(const TensorTable<Entry>& table,
                                                   unsigned block) {
  int low = 0, high = table.num_tensors - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table.entries[middle].first_block <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return table.entries[low];
}

// Splits `num` tensors into tables; make(i) gives an entry with num_elements set, launch(table,
// num_blocks) runs one.
template <typename Entry, typename Make, typename Launch>
void ForEachTable(int64_t num, int64_t chunk, const Make& make, const Launch& launch) {
  TensorTable<Entry> table;
  unsigned num_blocks = 0;
  for (int64_t i = 0; i < num; ++i) {
    Entry entry = make(i);
    if (entry.num_elements == 0) continue;
    const int64_t blocks = CeilDiv<int64_t>(entry.num_elements, chunk);
    if (table.num_tensors == TensorTable<Entry>::kMaxTensors) {
      launch(table, num_blocks);
      table.num_tensors = 0;
      num_blocks = 0;
    }
    entry.first_block = num_blocks;
    table.entries[table.num_tensors++] = entry;
    num_blocks += static_cast<unsigned>(blocks);
  }
  if (num_blocks > 0) launch(table, num_blocks);
}

}  // namespace wyvern
