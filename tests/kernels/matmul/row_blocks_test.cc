#include "kernels/common/row_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/matmul/matmul.h"
#include "kernels/runtime/independent_rows.h"
#include "kernels/runtime/random.h"

namespace wyvern {
namespace {

template <typename T>
std::vector<T> Values(int64_t count, const char* name) {
  const Random random(1, name);
  std::vector<T> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(random.Uniform(i) - 0.5);
  return values;
}

template <typename T>
std::vector<T> Product(const std::vector<T>& x, const std::vector<T>& weight, int64_t m, int64_t n,
                       int64_t k) {
  std::vector<T> y(m * n);
  Gemm(CpuTag(), GemmParams<T, T>{.m = m,
                                  .n = n,
                                  .k = k,
                                  .transpose_b = true,
                                  .a = x.data(),
                                  .b = weight.data(),
                                  .c = y.data()});
  return y;
}

template <typename T>
void ExpectRowsDependOnThemselvesAlone(int64_t n, int64_t k) {
  constexpr int64_t kRows = 150;
  const std::vector<T> x = Values<T>(kRows * k, "x"), weight = Values<T>(n * k, "weight");
  const std::vector<T> plain = Product(x, weight, kRows, n, k);
  const IndependentRows independent_rows;
  const std::vector<T> whole = Product(x, weight, kRows, n, k);
  for (int64_t i = 0; i < kRows * n; ++i) ASSERT_NEAR(whole[i], plain[i], 1e-4);
  for (const int64_t m : {1, 2, 7, 8, 20, 64, 65, 128}) {
    for (const int64_t first : {0, 3, 21}) {
      const std::vector<T> some(x.begin() + first * k, x.begin() + (first + m) * k);
      EXPECT_EQ(Product(some, weight, m, n, k),
                std::vector<T>(whole.begin() + first * n, whole.begin() + (first + m) * n))
          << m << " rows from " << first << " on, " << n << " x " << k;
    }
  }
}

TEST(IndependentRows, EachRowOfAProductDependsOnItselfAlone) {
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{13, 8}, {50, 200}, {1, 33}, {300, 96}}) {
    ExpectRowsDependOnThemselvesAlone<float>(n, k);
    ExpectRowsDependOnThemselvesAlone<double>(n, k);
  }
}

TEST(IndependentRows, HoldUntilTheirScopeEnds) {
  EXPECT_FALSE(IndependentRows::On());
  {
    const IndependentRows outer;
    { const IndependentRows inner; }
    EXPECT_TRUE(IndependentRows::On());
  }
  EXPECT_FALSE(IndependentRows::On());
}

// Copies rows; those from `same` on get another last bit.
void CopyRows(int64_t rows, int64_t same, const float* a, float* c) {
  for (int64_t i = 0; i < rows; ++i) c[i] = i < same ? a[i] : std::nextafter(a[i], 2.0f);
}

constexpr RowProduct kColumn{.m = 70, .n = 1, .k = 1, .lda = 1, .ldc = 1};

TEST(RowBlocks, AreOfHeightsThatTreatRowsAlike) {
  const auto all = [](int64_t rows, const float* a, float* c) { CopyRows(rows, rows, a, c); };
  EXPECT_EQ(HeightsOfBlocks<float>(kColumn, all), (std::vector<int64_t>{64, 32, 16, 8, 4, 2, 1}));
  // As with a kernel for 12 rows and another for the rest.
  const auto dozens = [](int64_t rows, const float* a, float* c) {
    CopyRows(rows, rows / 12 * 12, a, c);
  };
  EXPECT_EQ(HeightsOfBlocks<float>(kColumn, dozens), (std::vector<int64_t>{8, 4, 2, 1}));
  const auto none = [](int64_t rows, const float* a, float* c) { CopyRows(rows, 1, a, c); };
  EXPECT_EQ(HeightsOfBlocks<float>(kColumn, none), std::vector<int64_t>{1});
}

TEST(RowBlocks, LeaveOutHeightsThatRoundInAnotherWay) {
  // As with a kernel for small products.
  std::vector<int64_t> made;
  const auto multiply = [&](int64_t rows, const float* a, float* c) {
    made.push_back(rows);
    CopyRows(rows, rows < 8 ? 0 : rows, a, c);
  };
  EXPECT_EQ(HeightsOfBlocks<float>(kColumn, multiply), (std::vector<int64_t>{64, 32, 16, 8}));
  made.clear();
  const std::vector<float> a = Values<float>(kColumn.m, "a");
  std::vector<float> c(a.size());
  MultiplyInRowBlocks(kColumn, a.data(), c.data(), multiply);
  EXPECT_EQ(made, (std::vector<int64_t>{64, 8}));
  EXPECT_EQ(c, a);
}

}  // namespace
}  // namespace wyvern
