#include "layers/mixer_cache.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/pointwise/draw.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

int64_t HeldBytes(const Tensor& t) { return t.defined() ? t.nbytes() : 0; }

void Keep(const Tensor& made, bool step, Tensor* kept) {
  if (step) {
    if (made.address() != kept->address()) kept->CopyFrom(made);
  } else {
    *kept = made;
  }
}

void AddAddress(const Tensor& x, std::vector<uintptr_t>* addresses) {
  if (!x.defined()) return;
  addresses->push_back(reinterpret_cast<uintptr_t>(x.address()));
  addresses->push_back(static_cast<uintptr_t>(x.nbytes()));
}

Tensor CopyOfRows(const Tensor& x, absl::Span<const int64_t> rows) {
  if (!x.defined()) return x;
  Shape shape = x.shape();
  shape[0] = static_cast<int64_t>(rows.size());
  const Tensor copy = Tensor::Empty(shape, x.dtype(), x.device());
  for (int64_t i = 0; i < shape[0]; ++i) copy.Rows(i, i + 1).CopyFrom(x.Rows(rows[i], rows[i] + 1));
  return copy;
}

int64_t CacheCapacity(int64_t needed, int64_t reserved) {
  return needed <= reserved ? reserved : std::max<int64_t>(64, 2 * needed);
}

void FillRandom(const Tensor& to, uint64_t seed, const std::string& name) {
  constexpr int64_t kPiece = int64_t{1} << 24;
  const Tensor flat = to.Reshape({-1});
  for (int64_t begin = 0; begin < flat.numel(); begin += kPiece) {
    const int64_t end = std::min(flat.numel(), begin + kPiece);
    const Tensor values = Tensor::Empty({end - begin}, AccDType(to.dtype()), to.device());
    Dispatch(values.device(), values.dtype(), [&](auto device, auto io) {
      using Acc = AccOf<typename decltype(io)::type>;
      DrawNormal(device, DrawNormalParams<Acc>{.random = Random(seed, absl::StrCat(name, begin)),
                                               .num_elements = values.numel(),
                                               .values = values.data<Acc>(),
                                               .stream = ComputeStream()});
    });
    flat.Rows(begin, end).CopyFrom(values);
  }
}

Tensor RandomRows(const Tensor& like, int64_t rows, int64_t capacity, uint64_t seed,
                  const std::string& name) {
  Shape shape = like.shape();
  shape[0] = capacity;
  const Tensor made = Tensor::Empty(shape, like.dtype(), like.device());
  FillRandom(made.Rows(0, rows), seed, name);
  return made;
}

}  // namespace wyvern
