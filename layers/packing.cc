#include "layers/packing.h"

namespace wyvern {

Packing Packing::FromDocuments(std::vector<int32_t> cu_seqlens, Device device,
                               int32_t first_position) {
  CHECK(!cu_seqlens.empty() && cu_seqlens[0] == 0, "document offsets start at 0");
  Packing packing;
  packing.first_position = first_position;
  std::vector<int32_t> positions(cu_seqlens.back());
  for (size_t n = 0; n + 1 < cu_seqlens.size(); ++n) {
    CHECK(cu_seqlens[n] <= cu_seqlens[n + 1], "document ", n, " ends before it starts");
    const int32_t first = n == 0 ? first_position : 0;
    for (int32_t t = cu_seqlens[n]; t < cu_seqlens[n + 1]; ++t) {
      positions[t] = first + t - cu_seqlens[n];
    }
  }
  const auto num_offsets = static_cast<int64_t>(cu_seqlens.size());
  const auto num_tokens = static_cast<int64_t>(positions.size());
  packing.cu_seqlens = Tensor::FromVector(cu_seqlens, {num_offsets}).To(device);
  packing.positions = Tensor::FromVector(positions, {num_tokens}).To(device);
  packing.cu_seqlens_host = std::move(cu_seqlens);
  return packing;
}

Packing Packing::FromContext(std::shared_ptr<ContextSplit> context) {
  Packing packing = FromDocuments(context->documents(), context->group().device(),
                                  static_cast<int32_t>(context->own().before));
  packing.context = std::move(context);
  return packing;
}

}  // namespace wyvern
