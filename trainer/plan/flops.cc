#include "trainer/plan/flops.h"

#include <map>
#include <string>
#include <utility>

#include "layers/model.h"
#include "trainer/config/load.h"

namespace wyvern {
namespace {

Cost CountForward(const ModelConfig& config, int64_t seq_len, bool training) {
  const auto model = Model::Create(config, Device::kMeta, DType::kBf16, training);
  const Tensor ids = Tensor::Empty({seq_len}, DType::kInt32, Device::kMeta);
  const Packing packing = Packing::FromDocuments({0, static_cast<int32_t>(seq_len)}, Device::kMeta);
  Tape tape(/*recording=*/training);
  model->Loss(tape, ids, /*targets=*/ids, packing, /*denominator=*/1);
  return tape.cost();
}

}  // namespace

TokenFlops FlopsPerToken(const ModelConfig& config, int64_t seq_len) {
  static auto* const known = new std::map<std::pair<std::string, int64_t>, TokenFlops>;
  const auto [found, is_new] = known->try_emplace({ToYaml(config), seq_len});
  if (is_new) {
    // A recording head makes gradients in its forward, so the forward alone is counted apart.
    const Cost training = CountForward(config, seq_len, /*training=*/true);
    const double tokens = static_cast<double>(seq_len);
    found->second = {
        .forward = CountForward(config, seq_len, /*training=*/false).forward_flops / tokens,
        .training = (training.forward_flops + training.backward_flops) / tokens};
  }
  return found->second;
}

}  // namespace wyvern
