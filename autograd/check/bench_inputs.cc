#include "autograd/check/bench_inputs.h"

namespace wyvern {

BenchModel BenchModelOn(Device device) {
  if (device == Device::kCpu) return {2, 256, 128, 352, 2, 64, 512};
  return {16, 32768, 2048, 5632, 16, 128, 32000};
}

std::vector<int32_t> Offsets(int32_t num_docs, int32_t length) {
  std::vector<int32_t> offsets;
  for (int32_t n = 0; n <= num_docs; ++n) offsets.push_back(n * length);
  return offsets;
}

absl::StatusOr<std::vector<int32_t>> OffsetsOf(const BenchShape& shape) {
  const int64_t tokens = shape["tokens"], documents = shape["documents"];
  if (tokens % documents != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(tokens, " tokens do not make ", documents, " documents of one length"));
  }
  return Offsets(static_cast<int32_t>(documents), static_cast<int32_t>(tokens / documents));
}

Tensor ToTensor(const std::vector<int32_t>& values) {
  return Tensor::FromVector(values, {static_cast<int64_t>(values.size())});
}

Tensor RandomIds(int64_t count, int64_t bound) {
  CaseRandom random("bench ids");
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(bound));
  return ToTensor(ids);
}

std::string DocsName(const std::vector<int32_t>& offsets) {
  return absl::StrCat(offsets.size() - 1, " x ", offsets[1]);
}

}  // namespace wyvern
