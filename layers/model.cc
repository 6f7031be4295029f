#include "layers/model.h"

#include "absl/strings/str_join.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "layers/block.h"
#include "layers/decode_cache.h"

namespace wyvern {

Model::Model(const ModelConfig& config) : config_(config) {
  const auto add_table = [&](const std::string& name) {
    return AddParameter(name, {.shape = {config_.vocab_size, config_.hidden_size},
                               .kind = ParameterKind::kEmbedding,
                               .init = InitNormal(config_.initializer_range)});
  };
  embedding_ = add_table("embedding.weight");
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    blocks_.push_back(std::make_unique<Block>(config_, config_.MixerOfLayer(i)));
    AddChild(absl::StrCat("blocks.", i), blocks_.back().get());
  }
  final_norm_ = std::make_unique<Norm>(config_.hidden_size, config_.norm_eps);
  AddChild("final_norm", final_norm_.get());
  head_ = config_.tie_embeddings ? embedding_ : add_table("head.weight");
}

Model::~Model() = default;

std::unique_ptr<Model> Model::Create(const ModelConfig& config, Device device, DType compute,
                                     bool trainable) {
  const std::vector<std::string> faults = config.Validate();
  CHECK(faults.empty(), absl::StrJoin(faults, "; "));
  std::unique_ptr<Model> model(new Model(config));
  model->device_ = device;
  model->compute_ = compute;
  model->trainable_ = trainable;
  model->Allocate(device, compute, trainable);
  return model;
}

void Model::Initialize(uint64_t seed) { Module::Initialize(seed); }

Var Model::Hidden(Tape& caller_tape, const Tensor& ids, const Packing& packing,
                  DecodeCache* cache) {
  CHECK(ids.numel() == packing.num_tokens(), ids.numel(), " ids for ", packing.num_tokens(),
        " packed tokens");
  Tape quiet(/*recording=*/false);
  Tape& tape = cache == nullptr ? caller_tape : quiet;
  if (cache != nullptr) {
    CHECK(packing.num_documents() == 1, "a cache continues one document");
    CHECK(packing.first_position == cache->num_tokens(), "the cache holds ", cache->num_tokens(),
          " tokens, the packing continues at ", packing.first_position);
    cache->impl()->layers.resize(blocks_.size());
  }
  Stream x;
  x.update = tape.Apply<Embedding>({.weight = embedding_->var},
                                   {.ids = ids, .padding_id = config_.padding_id})
                 .y;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block* block = blocks_[i].get();
    if (trainable_ && tape.recording() && static_cast<int64_t>(i) < num_recomputed_) {
      // The packing is copied: backward runs after the caller's may be gone.
      const auto segment = [block, packing](Tape& inner, const std::vector<Var>& in) {
        const Stream out =
            block->Forward(inner, {.update = in[0], .residual = in[1]}, packing, nullptr);
        return std::vector<Var>{out.update, out.residual};
      };
      const std::vector<Var> out = tape.Recompute(segment, {x.update, x.residual});
      x = {.update = out[0], .residual = out[1]};
    } else {
      x = block->Forward(tape, x, packing, cache ? &cache->impl()->layers[i] : nullptr);
    }
  }
  if (cache != nullptr) cache->impl()->num_tokens += packing.num_tokens();
  return final_norm_->Forward(tape, x.update, x.residual).y;
}

LinearCrossEntropy::Outputs<Var> Model::Loss(Tape& tape, const Tensor& ids, const Tensor& targets,
                                             const Packing& packing, double denominator) {
  const Var hidden = Hidden(tape, ids, packing);
  return tape.Apply<LinearCrossEntropy>({.x = hidden, .weight = head_->var},
                                        {.targets = targets, .denominator = denominator});
}

Tensor Model::Logits(const Tensor& hidden) {
  Tape quiet(/*recording=*/false);
  return quiet.Apply<MatMul>({.x = Var(hidden), .weight = Var(head_->value)}, {}).y.value();
}

void Model::RecomputeBlocks(int64_t count) { num_recomputed_ = count; }

int64_t Model::num_parameters() {
  int64_t count = 0;
  Visit([&](Parameter&, const Spec& spec) { count += NumElements(spec.shape); });
  return count;
}

void Model::ZeroGradients() {
  Visit([](Parameter& parameter, const Spec&) {
    if (parameter.grad.defined()) parameter.ClearGrad();
  });
}

int64_t CountParameters(const ModelConfig& config) { return Model(config).num_parameters(); }

}  // namespace wyvern
