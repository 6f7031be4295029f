#include "trainer/parallel/device_batch.h"

#include "autograd/profiler_range.h"

namespace wyvern {

DeviceBatch Upload(const Batch& batch, Device device, const Mesh* mesh) {
  const ProfilerRange range("upload", WorkClass::kCopies, Pass::kForward);
  DeviceBatch part;
  int64_t end = batch.num_tokens();
  if (mesh == nullptr || mesh->shape().context == 1) {
    part.packing = Packing::FromDocuments(batch.cu_seqlens, device);
  } else {
    Communicator& group = mesh->context();
    auto split = std::make_shared<ContextSplit>(
        batch.cu_seqlens, ContextSplit::EvenParts(batch.num_tokens(), group.size()), &group);
    part.begin = split->own().begin;
    end = split->own().end;
    part.packing = Packing::FromContext(std::move(split));
  }
  const auto upload = [&](const std::vector<int32_t>& all) {
    return Tensor::FromVector(std::vector<int32_t>(all.begin() + part.begin, all.begin() + end),
                              {end - part.begin})
        .To(device);
  };
  part.ids = upload(batch.tokens);
  part.targets = upload(batch.targets);
  return part;
}

}  // namespace wyvern
