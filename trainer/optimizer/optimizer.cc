#include "trainer/optimizer/optimizer.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "kernels/comm/communicator.h"
#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

bool IsDecayed(ParameterKind kind, const OptimizerSection& options) {
  switch (kind) {
    case ParameterKind::kMatrix:
    case ParameterKind::kExperts:
    case ParameterKind::kRouter:
      return true;
    case ParameterKind::kEmbedding:
      return options.decay_embeddings;
    case ParameterKind::kConvolution:
      return options.decay_convolutions;
    case ParameterKind::kNorm:
      return options.decay_norms;
    case ParameterKind::kBias:
    case ParameterKind::kALog:
    case ParameterKind::kDtBias:
      return false;
  }
  return false;
}

bool UsesMuon(ParameterKind kind, const OptimizerSection& options) {
  if (options.type != OptimizerType::kMuon) return false;
  switch (kind) {
    case ParameterKind::kMatrix:
    case ParameterKind::kExperts:
      return true;
    case ParameterKind::kEmbedding:
    case ParameterKind::kRouter:
    case ParameterKind::kConvolution:
    case ParameterKind::kNorm:
    case ParameterKind::kBias:
    case ParameterKind::kALog:
    case ParameterKind::kDtBias:
      return false;
  }
  return false;
}

Tensor ReducedGradient(const Parameter& parameter) {
  const FlatParameters& flat = *parameter.flat;
  if (!flat.sharding().masters()) return parameter.var.grad();
  const FlatParameters::Slice slice = flat.SliceOf(parameter);
  return slice.size() == 0 ? Tensor() : FlatParameters::PartOf(flat.gradient_shard(), slice);
}

Optimizer::Optimizer(Model* model, const OptimizerSection& options)
    : model_(model), options_(options) {
  const int64_t bytes_before = GetMemoryStats(model->device()).current_bytes;
  std::map<const FlatParameters*, size_t> state_of;
  for (Unit& unit : model->units()) {
    for (FlatParameters* flat : unit.flats()) {
      const Sharding& sharding = flat->sharding();
      CHECK(sharding.count == (sharding.group == nullptr ? 1 : sharding.group->size()),
            "the model is divided over another group");
      const std::vector<Parameter*>& parameters = flat->parameters();
      const bool second = std::any_of(parameters.begin(), parameters.end(),
                                      [&](Parameter* p) { return !UsesMuon(p->kind, options); });
      state_of[flat] = states_.size();
      states_.push_back({flat, Tensor::ZerosLike(flat->master_shard()),
                         second ? Tensor::ZerosLike(flat->master_shard()) : Tensor()});
    }
  }
  std::vector<Muon::Target> targets;
  for (Parameter* parameter : model->parameters()) {
    const FlatState& state = states_[state_of.at(parameter->flat)];
    const double weight_decay = IsDecayed(parameter->kind, options) ? options.weight_decay : 0;
    if (UsesMuon(parameter->kind, options)) {
      targets.push_back({parameter, state.m, weight_decay});
    }
    const FlatParameters::Slice slice = parameter->flat->SliceOf(*parameter);
    if (slice.size() > 0) slots_.push_back({parameter, &state, slice, weight_decay});
  }
  if (options.qk_clip > 0) qk_clip_ = std::make_unique<QkClipper>(model, options.qk_clip);
  if (!targets.empty()) muon_ = std::make_unique<Muon>(std::move(targets));
  state_bytes_ = GetMemoryStats(model->device()).current_bytes - bytes_before;
}

Optimizer::Results Optimizer::Step(double lr, double max_norm, const Tensor& loss, int64_t update) {
  const Device device = model_->device();
  const DType acc = AccDType(model_->compute());
  Results results{Tensor::Empty({1}, acc, device), Tensor::Empty({1}, DType::kInt32, device)};
  const Tensor clip = Tensor::Empty({1}, acc, device);
  MeasureGradients(max_norm, loss, results, clip);
  StepAdamW(lr, update, clip, results.finite);
  if (muon_ != nullptr) {
    muon_->Step({.lr = lr, .momentum = options_.momentum, .clip = clip, .finite = results.finite});
  }
  if (qk_clip_ != nullptr) qk_clip_->Apply(results.finite);
  return results;
}

void Optimizer::MeasureGradients(double max_norm, const Tensor& loss, const Results& results,
                                 const Tensor& clip) const {
  const Device device = model_->device();
  // The shard of the model that this rank has, and of its experts where they are sharded otherwise.
  const ShardingLayout& layout = model_->sharding_layout();
  Communicator* divided_over = layout.experts;
  const bool alone = layout.sharding.group == nullptr && divided_over == nullptr;
  const Tensor squares = alone ? Tensor() : Tensor::Empty({2}, DType::kFloat64, device);
  ProfilerRange range("grad_norm", WorkClass::kAdamW, Pass::kUpdate);
  Dispatch(device, model_->compute(), [&](auto tag, auto io) {
    using Acc = AccOf<typename decltype(io)::type>;
    std::vector<GradNormTensor<Acc>> tensors, experts;  // the latter only if they are divided
    double bytes = 0;
    for (const Slot& slot : slots_) {
      const Tensor grad = ReducedGradient(*slot.parameter);
      const bool divided =
          divided_over != nullptr && slot.parameter->kind == ParameterKind::kExperts;
      (divided ? experts : tensors).push_back({grad.numel(), grad.data<Acc>()});
      bytes += static_cast<double>(grad.nbytes());
    }
    range.SetWork({.bytes = bytes});
    // The sum of their squares goes to `square`; null: the norm is that of these gradients alone.
    const auto measure = [&](std::vector<GradNormTensor<Acc>> gradients, double* square) {
      GradNorm(tag, GradNormParams<Acc>{.tensors = std::move(gradients),
                                        .max_norm = max_norm,
                                        .loss = loss.data<Acc>(),
                                        .norm = results.norm.data<Acc>(),
                                        .clip = clip.data<Acc>(),
                                        .finite = results.finite.data<int32_t>(),
                                        .squares = square,
                                        .stream = ComputeStream()});
    };
    if (alone) return measure(std::move(tensors), nullptr);
    const auto add_up = [](Communicator* group, double* square) {
      if (group != nullptr) group->AllReduce(square, square, 1, DType::kFloat64).Wait();
    };
    double* const square = squares.data<double>();
    measure(std::move(tensors), square);
    add_up(layout.sharding.group, square);
    if (divided_over != nullptr) {
      double* const expert_square = square + 1;
      measure(std::move(experts), expert_square);
      add_up(layout.expert_sharding.group, expert_square);
      add_up(divided_over, expert_square);
    }
    FinishGradNorm(tag, FinishGradNormParams<Acc>{.squares = square,
                                                  .num_squares = divided_over == nullptr ? 1 : 2,
                                                  .max_norm = max_norm,
                                                  .loss = loss.data<Acc>(),
                                                  .norm = results.norm.data<Acc>(),
                                                  .clip = clip.data<Acc>(),
                                                  .finite = results.finite.data<int32_t>(),
                                                  .stream = ComputeStream()});
  });
}

void Optimizer::StepAdamW(double lr, int64_t update, const Tensor& clip,
                          const Tensor& finite) const {
  ProfilerRange range("adamw", WorkClass::kAdamW, Pass::kUpdate);
  double bytes = 0;
  Dispatch(model_->device(), model_->compute(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    AdamWParams<Io> adamw{.lr = lr,
                          .beta1 = options_.beta1,
                          .beta2 = options_.beta2,
                          .eps = options_.epsilon,
                          .step = update,
                          .grad_scale = clip.data<Acc>(),
                          .finite = finite.data<int32_t>(),
                          .stream = ComputeStream()};
    for (const Slot& slot : slots_) {
      if (UsesMuon(slot.parameter->kind, options_)) continue;
      const auto part = [&](const Tensor& shard) {
        return FlatParameters::PartOf(shard, slot.slice);
      };
      const Tensor grad = ReducedGradient(*slot.parameter);
      const FlatParameters::Updated updated = slot.parameter->flat->UpdatedOf(*slot.parameter);
      adamw.tensors.push_back({.num_elements = slot.slice.size(),
                               .master = updated.master.data<Acc>(),
                               .grad = grad.data<Acc>(),
                               .m = part(slot.state->m).template data<Acc>(),
                               .v = part(slot.state->v).template data<Acc>(),
                               .copy = updated.copy.data<Io>(),
                               .weight_decay = slot.weight_decay});
      // Master and moments are read and written, the gradient read, the copy written.
      bytes += static_cast<double>(7 * grad.nbytes() + updated.copy.nbytes());
    }
    AdamW(tag, adamw);
  });
  range.SetWork({.bytes = bytes});
}

std::vector<Optimizer::NamedState> Optimizer::StatesOf(const FlatState& state,
                                                       const Parameter& parameter) const {
  std::vector<NamedState> states = {{"m", state.m}};
  if (!UsesMuon(parameter.kind, options_)) states.push_back({"v", state.v});
  return states;
}

}  // namespace wyvern
