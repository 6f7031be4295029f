#include "trainer/optimizer.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/adamw.h"
#include "kernels/ops/grad_norm.h"

namespace wyvern {

bool IsDecayed(ParameterKind kind, const OptimizerSection& options) {
  switch (kind) {
    case ParameterKind::kMatrix:
      return true;
    case ParameterKind::kEmbedding:
      return options.decay_embeddings;
    case ParameterKind::kConvolution:
      return options.decay_convolutions;
    case ParameterKind::kNorm:
    case ParameterKind::kBias:
    case ParameterKind::kALog:
    case ParameterKind::kDtBias:
      return false;
  }
  return false;
}

Optimizer::Optimizer(Model* model, const OptimizerSection& options)
    : model_(model), options_(options) {
  for (Parameter* parameter : model->parameters()) {
    slots_.push_back({parameter, Tensor::ZerosLike(parameter->master),
                      Tensor::ZerosLike(parameter->master),
                      IsDecayed(parameter->kind, options) ? options.weight_decay : 0});
  }
}

Optimizer::Results Optimizer::Step(double lr, double max_norm, const Tensor& loss, int64_t update) {
  const Device device = model_->device();
  const DType acc = AccDType(model_->compute());
  Results results{Tensor::Empty({1}, acc, device), Tensor::Empty({1}, DType::kInt32, device)};
  const Tensor clip = Tensor::Empty({1}, acc, device);
  Dispatch(device, model_->compute(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    GradNormParams<Acc> norm{.max_norm = max_norm,
                             .loss = loss.data<Acc>(),
                             .norm = results.norm.data<Acc>(),
                             .clip = clip.data<Acc>(),
                             .finite = results.finite.data<int32_t>(),
                             .stream = ComputeStream()};
    AdamWParams<Io> adamw{.lr = lr,
                          .beta1 = options_.beta1,
                          .beta2 = options_.beta2,
                          .eps = options_.epsilon,
                          .step = update,
                          .grad_scale = clip.data<Acc>(),
                          .finite = results.finite.data<int32_t>(),
                          .stream = ComputeStream()};
    double norm_bytes = 0, adamw_bytes = 0;
    for (const Slot& slot : slots_) {
      const Parameter& p = *slot.parameter;
      const Tensor grad = p.var.grad();
      norm.tensors.push_back({grad.numel(), grad.data<Acc>()});
      const bool has_copy = p.value.raw() != p.master.raw();
      adamw.tensors.push_back({.num_elements = p.master.numel(),
                               .master = p.master.data<Acc>(),
                               .grad = grad.data<Acc>(),
                               .m = slot.m.data<Acc>(),
                               .v = slot.v.data<Acc>(),
                               .copy = has_copy ? p.value.data<Io>() : nullptr,
                               .weight_decay = slot.weight_decay});
      norm_bytes += static_cast<double>(p.grad.nbytes());
      // Master and moments are read and written, the gradient read, the copy written.
      adamw_bytes += static_cast<double>(7 * p.grad.nbytes() + (has_copy ? p.value.nbytes() : 0));
    }
    {
      ProfilerRange range("grad_norm", Pass::kUpdate);
      range.SetWork({.bytes = norm_bytes});
      GradNorm(tag, norm);
    }
    ProfilerRange range("adamw", Pass::kUpdate);
    range.SetWork({.bytes = adamw_bytes});
    AdamW(tag, adamw);
  });
  return results;
}

std::vector<NamedTensor> Optimizer::State() const {
  std::vector<NamedTensor> state;
  for (const Slot& slot : slots_) {
    state.push_back({absl::StrCat("optimizer/", slot.parameter->name, "/m"), slot.m});
    state.push_back({absl::StrCat("optimizer/", slot.parameter->name, "/v"), slot.v});
  }
  return state;
}

}  // namespace wyvern
