#include "trainer/optimizer.h"

#include <map>

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

Tensor ReducedGradient(const Parameter& parameter) {
  const FlatParameters& flat = *parameter.flat;
  if (!flat.sharding().masters()) return parameter.var.grad();
  const FlatParameters::Piece piece = flat.PieceOf(parameter);
  return piece.size() == 0 ? Tensor() : FlatParameters::PartOf(flat.gradient_shard(), piece);
}

Optimizer::Optimizer(Model* model, const OptimizerSection& options, Communicator* shards)
    : model_(model), options_(options), shards_(shards) {
  std::map<const FlatParameters*, size_t> state_of;
  for (Unit& unit : model->units()) {
    for (FlatParameters* flat : unit.flats()) {
      CHECK(flat->sharding().count == (shards == nullptr ? 1 : shards->size()),
            "the model is divided over another group");
      state_of[flat] = states_.size();
      states_.push_back(
          {flat, Tensor::ZerosLike(flat->master_shard()), Tensor::ZerosLike(flat->master_shard())});
    }
  }
  for (Parameter* parameter : model->parameters()) {
    const FlatState& state = states_[state_of.at(parameter->flat)];
    const FlatParameters::Piece piece = parameter->flat->PieceOf(*parameter);
    if (piece.size() == 0) continue;
    slots_.push_back({parameter, piece, FlatParameters::PartOf(state.m, piece),
                      FlatParameters::PartOf(state.v, piece),
                      IsDecayed(parameter->kind, options) ? options.weight_decay : 0});
  }
}

Optimizer::Results Optimizer::Step(double lr, double max_norm, const Tensor& loss, int64_t update) {
  const Device device = model_->device();
  const DType acc = AccDType(model_->compute());
  Results results{Tensor::Empty({1}, acc, device), Tensor::Empty({1}, DType::kInt32, device)};
  const Tensor clip = Tensor::Empty({1}, acc, device);
  const Tensor squares =
      shards_ == nullptr ? Tensor() : Tensor::Empty({1}, DType::kFloat64, device);
  Dispatch(device, model_->compute(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    GradNormParams<Acc> norm{.max_norm = max_norm,
                             .loss = loss.data<Acc>(),
                             .norm = results.norm.data<Acc>(),
                             .clip = clip.data<Acc>(),
                             .finite = results.finite.data<int32_t>(),
                             .squares = squares.data<double>(),
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
      const FlatParameters& flat = *slot.parameter->flat;
      const Tensor grad = ReducedGradient(*slot.parameter);
      const Tensor master = FlatParameters::PartOf(flat.master_shard(), slot.piece);
      norm.tensors.push_back({grad.numel(), grad.data<Acc>()});
      const bool has_copy = flat.value_shard().raw() != flat.master_shard().raw();
      const Tensor copy =
          has_copy ? FlatParameters::PartOf(flat.value_shard(), slot.piece) : Tensor();
      adamw.tensors.push_back({.num_elements = slot.piece.size(),
                               .master = master.data<Acc>(),
                               .grad = grad.data<Acc>(),
                               .m = slot.m.data<Acc>(),
                               .v = slot.v.data<Acc>(),
                               .copy = copy.data<Io>(),
                               .weight_decay = slot.weight_decay});
      norm_bytes += static_cast<double>(grad.nbytes());
      // Master and moments are read and written, the gradient read, the copy written.
      adamw_bytes += static_cast<double>(7 * grad.nbytes() + (has_copy ? copy.nbytes() : 0));
    }
    {
      ProfilerRange range("grad_norm", Pass::kUpdate);
      range.SetWork({.bytes = norm_bytes});
      GradNorm(tag, norm);
      if (shards_ != nullptr) {
        shards_->AllReduce(squares.raw(), squares.raw(), 1, DType::kFloat64).Wait();
        FinishGradNorm(tag, FinishGradNormParams<Acc>{.squares = norm.squares,
                                                      .max_norm = max_norm,
                                                      .loss = norm.loss,
                                                      .norm = norm.norm,
                                                      .clip = norm.clip,
                                                      .finite = norm.finite,
                                                      .stream = norm.stream});
      }
    }
    ProfilerRange range("adamw", Pass::kUpdate);
    range.SetWork({.bytes = adamw_bytes});
    AdamW(tag, adamw);
  });
  return results;
}

std::vector<NamedTensor> Optimizer::State() const {
  CHECK(shards_ == nullptr, "the state of a sharded model is gathered");
  std::vector<NamedTensor> state;
  for (const Slot& slot : slots_) {
    const Parameter& p = *slot.parameter;
    state.push_back({absl::StrCat("optimizer/", p.name, "/m"), slot.m.Reshape(p.shape)});
    state.push_back({absl::StrCat("optimizer/", p.name, "/v"), slot.v.Reshape(p.shape)});
  }
  return state;
}

}  // namespace wyvern
