#include "trainer/optimizer/newton_schulz.h"

#include <algorithm>

#include "kernels/matmul/matmul.h"
#include "kernels/optim/dispatch_muon.h"
#include "kernels/optim/muon.h"

namespace wyvern {
namespace {

// The elements of the matrices that go through the steps at once. Their scratch memory is up to
// three times as large.
constexpr int64_t kMaxElements = int64_t{32} << 20;

// In each step the matrices go from one buffer to the other; they begin beside `x` and end in it.
static_assert(kNewtonSchulzSteps % 2 == 1);

void Orthogonalize(const Tensor& x) {
  const int64_t batch = x.dim(0), rows = x.dim(1), columns = x.dim(2);
  const int64_t side = std::min(rows, columns);
  const bool wide = rows <= columns;
  const Tensor other = Tensor::EmptyLike(x);
  const Tensor gram = Tensor::Empty({batch, side, side}, x.dtype(), x.device());
  const Tensor polynomial = Tensor::EmptyLike(gram);
  DispatchMuon(x.device(), x.dtype(), [&](auto tag, auto type) {
    using T = typename decltype(type)::type;
    NormalizeMatrices(tag, NormalizeMatricesParams<T>{.batch = batch,
                                                      .num_elements = rows * columns,
                                                      .x = x.data<T>(),
                                                      .y = other.data<T>(),
                                                      .stream = ComputeStream()});
    const T* from = other.data<T>();
    T* to = x.data<T>();
    T *a = gram.data<T>(), *b = polynomial.data<T>();
    for (int step = 0; step < kNewtonSchulzSteps; ++step) {
      Gemm(tag, GemmParams<T, T>{.m = side,
                                 .n = side,
                                 .k = std::max(rows, columns),
                                 .batch = batch,
                                 .transpose_a = !wide,
                                 .transpose_b = wide,
                                 .a = from,
                                 .b = from,
                                 .c = a,
                                 .stream = ComputeStream()});
      Gemm(tag, GemmParams<T, T>{.m = side,
                                 .n = side,
                                 .k = side,
                                 .batch = batch,
                                 .alpha = kNewtonSchulzC,
                                 .beta = kNewtonSchulzB,
                                 .a = a,
                                 .b = a,
                                 .c = b,
                                 .addend = a,
                                 .stream = ComputeStream()});
      Gemm(tag, GemmParams<T, T>{.m = rows,
                                 .n = columns,
                                 .k = side,
                                 .batch = batch,
                                 .alpha = 1,
                                 .beta = kNewtonSchulzA,
                                 .a = wide ? b : from,
                                 .b = wide ? from : b,
                                 .c = to,
                                 .addend = from,
                                 .stream = ComputeStream()});
      from = to;
      to = to == x.data<T>() ? other.data<T>() : x.data<T>();
    }
  });
}

}  // namespace

void NewtonSchulz(const Tensor& x) {
  if (x.numel() == 0) return;
  const int64_t at_once = std::max<int64_t>(1, kMaxElements / (x.dim(1) * x.dim(2)));
  for (int64_t begin = 0; begin < x.dim(0); begin += at_once) {
    Orthogonalize(x.Rows(begin, std::min(x.dim(0), begin + at_once)));
  }
}

double NewtonSchulzFlops(int64_t rows, int64_t columns) {
  const double side = static_cast<double>(std::min(rows, columns));
  const double length = static_cast<double>(std::max(rows, columns));
  return kNewtonSchulzSteps * (4 * side * side * length + 2 * side * side * side);
}

}  // namespace wyvern
