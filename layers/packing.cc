#include "layers/packing.h"

namespace wyvern {

Packing Packing::FromDocuments(std::vector<int32_t> cu_seqlens, Device device,
                               int32_t first_position) {
  return FromDocuments(std::move(cu_seqlens), device, std::vector<int32_t>{first_position});
}

Packing Packing::FromDocuments(std::vector<int32_t> cu_seqlens, Device device,
                               std::vector<int32_t> first_positions) {
  CHECK(!cu_seqlens.empty() && cu_seqlens[0] == 0, "document offsets start at 0");
  Packing packing;
  packing.first_positions = std::move(first_positions);
  const auto num_tokens = static_cast<int64_t>(cu_seqlens.back());
  const bool meta = device == Device::kMeta;  // where a sequence may be longer than the host holds
  std::vector<int32_t> positions(static_cast<size_t>(meta ? 0 : num_tokens));
  for (size_t n = 0; n + 1 < cu_seqlens.size(); ++n) {
    CHECK(cu_seqlens[n] <= cu_seqlens[n + 1], "document ", n, " ends before it starts");
    if (meta) continue;
    const auto first = static_cast<int32_t>(packing.first_position(static_cast<int64_t>(n)));
    for (int32_t t = cu_seqlens[n]; t < cu_seqlens[n + 1]; ++t) {
      positions[t] = first + t - cu_seqlens[n];
    }
  }
  const auto num_offsets = static_cast<int64_t>(cu_seqlens.size());
  packing.cu_seqlens = Tensor::FromVector(cu_seqlens, {num_offsets}).To(device);
  packing.positions = meta ? Tensor::Empty({num_tokens}, DType::kInt32, device)
                           : Tensor::FromVector(positions, {num_tokens}).To(device);
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
