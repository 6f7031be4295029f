#include "layers/model.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/ops/head/embedding.h"
#include "autograd/ops/matmul/matmul.h"
#include "layers/block.h"
#include "layers/decode_cache.h"

namespace wyvern {

Model::Model(const ModelConfig& config, Communicator* experts) : config_(config) {
  const auto add_table = [&](const std::string& name) {
    return AddParameter(name, {.shape = {config_.vocab_size, config_.hidden_size},
                               .kind = ParameterKind::kEmbedding,
                               .init = InitNormal()});
  };
  embedding_ = add_table("embedding.weight");
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    blocks_.push_back(std::make_unique<Block>(config_, i, experts));
    AddChild(absl::StrCat("blocks.", i), blocks_.back().get());
  }
  final_norm_ =
      std::make_unique<Norm>(config_.hidden_size, config_.norm_eps, config_.zero_centered_norms);
  AddChild("final_norm", final_norm_.get());
  head_ = config_.tie_embeddings ? embedding_ : add_table("head.weight");
}

Model::~Model() = default;

std::unique_ptr<Model> Model::Declare(const ModelConfig& config) {
  return std::unique_ptr<Model>(new Model(config));
}

std::unique_ptr<Model> Model::Create(const ModelConfig& config, Device device, DType compute,
                                     bool trainable, const ShardingLayout& layout) {
  const std::vector<std::string> faults = config.Validate();
  CHECK(faults.empty(), absl::StrJoin(faults, "; "));
  CHECK(layout.experts == nullptr || config.moe.has_value(), "no experts to divide");
  CHECK(!layout.expert_sharding.values(), "the parameters of partitioned experts stay whole");
  std::unique_ptr<Model> model(new Model(config, layout.experts));
  model->sharding_layout_ = layout;
  model->device_ = device;
  model->compute_ = compute;
  model->trainable_ = trainable;
  model->Allocate();
  return model;
}

void Model::Allocate() {
  struct Members {
    std::string name;
    std::vector<Parameter*> parameters;
  };
  std::vector<Members> members = {{"embedding", {embedding_}}};
  for (size_t i = 0; i < blocks_.size(); ++i) {
    members.push_back({absl::StrCat("blocks.", i), blocks_[i]->parameters()});
  }
  if (!config_.tie_embeddings) members.push_back({"head", {head_}});
  const std::vector<Parameter*> last = final_norm_->parameters();
  std::vector<Parameter*>& with =
      (config_.tie_embeddings ? members.front() : members.back()).parameters;
  with.insert(with.end(), last.begin(), last.end());
  units_ = std::vector<Unit>(members.size());  // parameters point into it from now on
  const DType master = AccDType(compute_);
  for (size_t i = 0; i < members.size(); ++i) {
    std::vector<Parameter*> large, small, experts;
    for (Parameter* p : members[i].parameters) {
      const bool own = sharding_layout_.experts != nullptr && p->kind == ParameterKind::kExperts;
      (own ? experts : IsLarge(p->kind) ? large : small).push_back(p);
    }
    units_[i].name = members[i].name;
    const Sharding& sharding = sharding_layout_.sharding;
    units_[i].large.Allocate(large, compute_, master, device_, trainable_, sharding);
    units_[i].small.Allocate(small, master, master, device_, trainable_, sharding);
    units_[i].experts.Allocate(experts, compute_, master, device_, trainable_,
                               sharding_layout_.expert_sharding);
  }
  for (ModelBuffer* buffer : buffers())
    buffer->value = Tensor::Zeros(buffer->shape, master, device_);
  const auto layers = static_cast<int64_t>(router_biases().size());
  if (!trainable_ || layers == 0) return;
  expert_loads_ = Tensor::Zeros({layers, config_.moe->num_experts}, DType::kInt64, device_);
  balance_loss_ = Tensor::Zeros({1}, master, device_);
  int64_t layer = 0;
  for (const auto& block : blocks_) {
    if (block->moe() == nullptr) continue;
    block->moe()->RecordTo(expert_loads_.Rows(layer, layer + 1).Reshape({-1}), balance_loss_);
    ++layer;
  }
}

std::vector<ModelBuffer*> Model::router_biases() {
  std::vector<ModelBuffer*> biases;
  for (const auto& block : blocks_) {
    if (block->moe() != nullptr) biases.push_back(block->moe()->bias());
  }
  return biases;
}

void Model::Enter(Tape& tape, int unit) const {
  if (hooks_ == nullptr) return;
  hooks_->BeforeForward(unit);
  tape.OnBackward([hooks = hooks_, unit] { hooks->AfterBackward(unit); });
}

void Model::Leave(Tape& tape, int unit) const {
  if (hooks_ == nullptr) return;
  tape.OnBackward([hooks = hooks_, unit] { hooks->BeforeBackward(unit); });
  hooks_->AfterForward(unit, tape.recording());
}

void Model::Initialize(uint64_t seed) {
  Module::Initialize({.seed = seed, .initializer_range = config_.initializer_range});
  for (ModelBuffer* buffer : buffers()) buffer->value.FillZero();
}

Stream Model::Trunk(Tape& tape, const Tensor& ids, const Packing& packing, DecodeCache* cache,
                    double balance_factor) {
  CHECK(ids.numel() == packing.num_tokens(), ids.numel(), " ids for ", packing.num_tokens(),
        " packed tokens");
  if (cache != nullptr) {
    CHECK(packing.num_documents() == cache->num_sequences(), packing.num_documents(),
          " documents continue a cache of ", cache->num_sequences(), " sequences");
    CHECK(packing.context == nullptr, "a cache continues sequences that are not cut");
    for (int64_t i = 0; i < cache->num_sequences() && !packing.step; ++i) {
      CHECK(packing.first_position(i) == cache->num_tokens(i), "the cache holds ",
            cache->num_tokens(i), " tokens of sequence ", i, ", the packing continues at ",
            packing.first_position(i));
    }
    if (cache->layers_.empty()) {
      for (const Mixer* mixer : mixers()) {
        cache->layers_.push_back(mixer->NewCache(cache->num_sequences()));
        cache->layers_.back()->Reserve(cache->reserved_);
      }
    }
    CHECK(cache->layers_.size() == blocks_.size(), "the cache of another model");
  }
  Stream x;
  Enter(tape, 0);
  x.update = tape.Apply<Embedding>({.weight = embedding_->var},
                                   {.ids = ids, .padding_id = config_.padding_id})
                 .y;
  if (HeadUnit() != 0) Leave(tape, 0);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block* block = blocks_[i].get();
    const int unit = static_cast<int>(i) + 1;
    Enter(tape, unit);
    if (trainable_ && tape.recording() && static_cast<int64_t>(i) < num_recomputed_) {
      // The packing is copied: backward runs after the caller's may be gone.
      const auto segment = [block, packing, balance_factor](Tape& inner,
                                                            const std::vector<Var>& in) {
        const Stream out = block->Forward(inner, {.update = in[0], .residual = in[1]}, packing,
                                          nullptr, balance_factor);
        return std::vector<Var>{out.update, out.residual};
      };
      const std::vector<Var> out = tape.Recompute(segment, {x.update, x.residual});
      x = {.update = out[0], .residual = out[1]};
    } else {
      x = block->Forward(tape, x, packing, cache ? cache->layers_[i].get() : nullptr,
                         balance_factor);
    }
    Leave(tape, unit);
  }
  if (cache != nullptr && !packing.step) {
    for (size_t i = 0; i < cache->num_tokens_.size(); ++i) {
      cache->num_tokens_[i] += packing.cu_seqlens_host[i + 1] - packing.cu_seqlens_host[i];
    }
  }
  if (HeadUnit() != 0) Enter(tape, HeadUnit());
  return x;
}

Var Model::Hidden(Tape& caller_tape, const Tensor& ids, const Packing& packing,
                  DecodeCache* cache) {
  Tape quiet(/*recording=*/false);
  Tape& tape = cache == nullptr ? caller_tape : quiet;
  const Stream x = Trunk(tape, ids, packing, cache);
  const Var hidden = final_norm_->Forward(tape, x.update, x.residual).y;
  Leave(tape, HeadUnit());
  return hidden;
}

LinearCrossEntropy::Outputs<Var> Model::Loss(Tape& tape, const Tensor& ids, const Tensor& targets,
                                             const Packing& packing, double denominator) {
  const Stream x = Trunk(tape, ids, packing, nullptr, balance_loss_weight_ / denominator);
  const Var hidden = final_norm_->Forward(tape, x.update, x.residual).y;
  const auto loss = tape.Apply<LinearCrossEntropy>(
      {.x = hidden, .weight = head_->var}, {.targets = targets, .denominator = denominator});
  Leave(tape, HeadUnit());
  return loss;
}

Tensor Model::Logits(const Tensor& hidden) {
  Tape quiet(/*recording=*/false);
  Enter(quiet, HeadUnit());
  const Tensor logits =
      quiet.Apply<MatMul>({.x = Var(hidden), .weight = Var(head_->value)}, {}).y.value();
  Leave(quiet, HeadUnit());
  return logits;
}

std::vector<Mixer*> Model::mixers() const {
  std::vector<Mixer*> mixers;
  for (const auto& block : blocks_) mixers.push_back(block->mixer());
  return mixers;
}

void Model::RecomputeBlocks(int64_t count) { num_recomputed_ = count; }

int64_t Model::num_parameters() {
  int64_t count = 0;
  Visit([&](Parameter& p, const Spec&) { count += NumElements(p.whole_shape); });
  return count;
}

int64_t Model::num_active_parameters() {
  int64_t count = 0;
  Visit([&](Parameter& p, const Spec&) {
    const int64_t size = NumElements(p.whole_shape);
    count += p.kind == ParameterKind::kExperts
                 ? size / p.whole_shape[0] * config_.moe->experts_per_token
                 : size;
  });
  return count;
}

void Model::ZeroGradients() {
  if (expert_loads_.defined()) {
    expert_loads_.FillZero();
    balance_loss_.FillZero();
  }
  Visit([](Parameter& parameter, const Spec&) {
    if (parameter.grad.defined()) parameter.ClearGrad();
  });
  // Backward takes the memory again, unit by unit, as it gives activations back. (On the CPU fresh
  // pages would cost more than they save.)
  if (device_ == Device::kCpu || !trainable_) return;
  for (Unit& unit : units_) {
    for (FlatParameters* flat : unit.flats()) {
      if (!flat->sharding().gradients()) flat->gradients().Discard();
    }
  }
}

int64_t CountParameters(const ModelConfig& config) { return Model(config).num_parameters(); }

int64_t CountActiveParameters(const ModelConfig& config) {
  return Model(config).num_active_parameters();
}

}  // namespace wyvern
