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

// Whether multiply(m, a, c) gives equal rows of A equal rows of C. That depends on sizes alone:
// BLAS divides a product by them among kernels and threads, which may round differently.
template <typename T, typename F>
bool TreatsRowsAlike(int64_t m, const RowProduct& p, const F& multiply) {
  std::vector<T> a(m * p.lda), c(m * p.ldc);
  uint32_t random = 1;
  for (int64_t i = 0; i < p.k; ++i) {
    random = random * 1664525u + 1013904223u;
    a[i] = static_cast<T>(random >> 8) / (1 << 23) - 1;
  }
  for (int64_t i = 1; i < m; ++i) std::copy_n(a.data(), p.k, a.data() + i * p.lda);
  multiply(m, a.data(), c.data());
  for (int64_t i = 1; i < m; ++i) {
    if (std::memcmp(c.data(), c.data() + i * p.ldc, p.n * sizeof(T)) != 0) return false;
  }
  return true;
}

// The rows of a block: the most of these that are all treated alike. OpenBLAS's kernels for AVX-512
// do so with 64; those for AVX2 with 8, at a fifth of the speed. Tried once for each size.
template <typename T, typename F>
int64_t RowsOfBlock(const RowProduct& p, const F& multiply) {
  static std::mutex mutex;
  static std::map<std::tuple<int64_t, int64_t, int64_t, int64_t>, int64_t> found;
  const std::lock_guard<std::mutex> lock(mutex);
  int64_t& rows = found[{p.n, p.k, p.lda, p.ldc}];
  if (rows == 0) {
    rows = TreatsRowsAlike<T>(64, p, multiply)  ? 64
           : TreatsRowsAlike<T>(8, p, multiply) ? 8
                                                : 1;
  }
  return rows;
}

// Makes C of blocks of as many rows, multiply(rows, a, c), so that a row of C depends on its row of
// A alone. The last block is filled up with zeros.
template <typename T, typename F>
void MultiplyInRowBlocks(const RowProduct& p, const T* a, T* c, const F& multiply) {
  const int64_t rows = RowsOfBlock<T>(p, multiply);
  int64_t i = 0;
  for (; i + rows <= p.m; i += rows) multiply(rows, a + i * p.lda, c + i * p.ldc);
  if (i == p.m) return;
  std::vector<T> last_a(rows * p.lda), last_c(rows * p.ldc);
  for (int64_t r = 0; i + r < p.m; ++r) {
    std::copy_n(a + (i + r) * p.lda, p.k, last_a.data() + r * p.lda);
  }
  multiply(rows, last_a.data(), last_c.data());
  for (int64_t r = 0; i + r < p.m; ++r) {
    std::copy_n(last_c.data() + r * p.ldc, p.n, c + (i + r) * p.ldc);
  }
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMMON_ROW_BLOCKS_H_
