// Products of the CPU in blocks of rows.
#ifndef WYVERN_KERNELS_COMMON_ROW_BLOCKS_H_
#define WYVERN_KERNELS_COMMON_ROW_BLOCKS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

namespace wyvern {

// C [m, n] = A [m, k] B with rows of A and C that lie `lda` and `ldc` elements apart.
struct RowProduct {
  int64_t m = 0, n = 0, k = 0, lda = 0, ldc = 0;
};

// Rows of C for rows of A: `rows` copies of one row in each of several trials, so that 512 elements
// or more are compared. multiply(rows, a, c) makes one trial's.
template <typename T, typename F>
std::vector<T> TryRows(int64_t rows, const RowProduct& p, const F& multiply) {
  const int64_t trials = 1 + 512 / std::max<int64_t>(1, p.n);
  std::vector<T> a(rows * p.lda), c(rows * p.ldc), all;
  uint32_t random = 1;
  for (int64_t trial = 0; trial < trials; ++trial) {
    for (int64_t i = 0; i < p.k; ++i) {
      random = random * 1664525u + 1013904223u;
      const T x = static_cast<T>(random >> 8) / (1 << 23) - 1;
      for (int64_t r = 0; r < rows; ++r) a[r * p.lda + i] = x;
    }
    multiply(rows, a.data(), c.data());
    for (int64_t r = 0; r < rows; ++r) {
      all.insert(all.end(), c.begin() + r * p.ldc, c.begin() + r * p.ldc + p.n);
    }
  }
  return all;
}

// Whether each row of a product of `rows` equal rows is that of the same trial in `one`, what one
// of them gave.
template <typename T>
bool AllAre(const std::vector<T>& one, int64_t rows, int64_t n, const std::vector<T>& all) {
  for (size_t trial = 0; trial * n < one.size(); ++trial) {
    for (int64_t r = 0; r < rows; ++r) {
      if (std::memcmp(one.data() + trial * n, all.data() + (trial * rows + r) * n, n * sizeof(T)) !=
          0) {
        return false;
      }
    }
  }
  return true;
}

// The first row of each trial.
template <typename T>
std::vector<T> FirstRows(const std::vector<T>& all, int64_t rows, int64_t n) {
  std::vector<T> first;
  for (size_t begin = 0; begin < all.size(); begin += rows * n) {
    first.insert(first.end(), all.begin() + begin, all.begin() + begin + n);
  }
  return first;
}

// Numbers of rows, the largest first, whose products give each row the same bits in every place.
// BLAS chooses by sizes alone among kernels and threads, which may round differently: so equal rows
// are tried, once for each size. OpenBLAS's kernels for AVX-512 treat 64 rows alike; those for AVX2
// no more than 8, at a fifth of the speed.
template <typename T, typename F>
const std::vector<int64_t>& HeightsOfBlocks(const RowProduct& p, const F& multiply) {
  static std::mutex mutex;
  static std::map<std::tuple<int64_t, int64_t, int64_t, int64_t>, std::vector<int64_t>> found;
  const std::lock_guard<std::mutex> lock(mutex);
  std::vector<int64_t>& heights = found[{p.n, p.k, p.lda, p.ldc}];
  if (!heights.empty()) return heights;
  std::vector<T> expected;
  for (const int64_t rows : {64, 32, 16, 8, 4, 2, 1}) {
    const std::vector<T> all = TryRows<T>(rows, p, multiply);
    if (heights.empty()) expected = FirstRows(all, rows, p.n);
    if (AllAre(expected, rows, p.n, all)) heights.push_back(rows);
  }
  return heights;
}

// Makes C of such blocks, multiply(rows, a, c), so that a row of C depends on its row of A alone.
// The last block is filled up with zeros to the least height: a block of few rows takes about as
// long as one of many, since BLAS copies the whole of B for each.
template <typename T, typename F>
void MultiplyInRowBlocks(const RowProduct& p, const T* a, T* c, const F& multiply) {
  const std::vector<int64_t>& heights = HeightsOfBlocks<T>(p, multiply);
  int64_t i = 0;
  for (; i + heights[0] <= p.m; i += heights[0]) multiply(heights[0], a + i * p.lda, c + i * p.ldc);
  if (i == p.m) return;
  const int64_t rest = p.m - i;
  const int64_t rows = *std::find_if(heights.rbegin(), heights.rend(),
                                     [&](int64_t height) { return height >= rest; });
  std::vector<T> last_a(rows * p.lda), last_c(rows * p.ldc);
  for (int64_t r = 0; r < rest; ++r) {
    std::copy_n(a + (i + r) * p.lda, p.k, last_a.data() + r * p.lda);
  }
  multiply(rows, last_a.data(), last_c.data());
  for (int64_t r = 0; r < rest; ++r) {
    std::copy_n(last_c.data() + r * p.ldc, p.n, c + (i + r) * p.ldc);
  }
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMMON_ROW_BLOCKS_H_
