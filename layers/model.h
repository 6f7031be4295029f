#ifndef WYVERN_LAYERS_MODEL_H_
#define WYVERN_LAYERS_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "autograd/ops/head/linear_cross_entropy.h"
#include "layers/model_config.h"
#include "layers/packing.h"
#include "layers/parameter.h"
#include "layers/unit.h"

namespace wyvern {

class Block;
class DecodeCache;
class Mixer;
class Norm;
struct Stream;

// A decoder-only language model: embedding, pre-norm blocks of a token mixer and a SwiGLU MLP or a
// mixture of experts, final norm, vocabulary head.
class Model : public Module {
 public:
  // Allocates parameters with undefined contents. `config` must be valid. `compute` is the
  // compute dtype: fp32 or fp64 on the CPU, bf16 or fp32 on CUDA. Without `trainable` there are
  // no gradient buffers and the master weights of a bf16 parameter are absent. Of a trainable model
  // that is divided this rank has a part of the memory, and forward and backward need hooks that
  // make the rest be there. The size of the group `layout.experts` divides the number of experts;
  // all its ranks make the same calls.
  static std::unique_ptr<Model> Create(const ModelConfig& config, Device device, DType compute,
                                       bool trainable = true, const ShardingLayout& layout = {});
  // A model without memory: the names, kinds and shapes of its parameters and buffers.
  static std::unique_ptr<Model> Declare(const ModelConfig& config);
  ~Model() override;

  // Draws every parameter as its family prescribes, a pure function of seed and parameter name, and
  // zeroes the buffers.
  void Initialize(uint64_t seed);

  // The final-norm output [T, D] of `ids` [T] int32 on the model's device, each in [0, vocab_size).
  // With a cache, document i of `packing` continues sequence i at position cache->num_tokens(i)
  // (DecodeCache::Next), nothing is recorded for backward, and the cache advances (but in a step,
  // before which it has).
  Var Hidden(Tape& tape, const Tensor& ids, const Packing& packing, DecodeCache* cache = nullptr);

  // Loss over `targets` [T] int32 (negative: not counted), summed and divided by `denominator`. A
  // backward from it also differentiates the balance loss of SetBalanceLoss.
  LinearCrossEntropy::Outputs<Var> Loss(Tape& tape, const Tensor& ids, const Tensor& targets,
                                        const Packing& packing, double denominator);

  // Whether two steps of decoding (layers/decode_graph.h) differ only in what kernels read from
  // memory: not where units are gathered or rows exchanged with other ranks, whose counts the host
  // reads.
  bool EveryStepIsAlike() const { return hooks_ == nullptr && sharding_layout_.experts == nullptr; }

  // Logits [rows, vocab_size] of rows of Hidden's result, in the compute type.
  Tensor Logits(const Tensor& hidden);

  // Blocks whose activations are recomputed in backward instead of kept: the first `count`.
  void RecomputeBlocks(int64_t count);
  // The recompute policy of a tape that trains this model, for the other blocks.
  void SetRecompute(RecomputePolicy policy) { recompute_ = policy; }
  RecomputePolicy recompute() const { return recompute_; }

  // The tokens' choices since ZeroGradients in the layers with experts, one for each permuted
  // token: [layers, E] int64 on the device. Every backward adds its own. Undefined without experts
  // and in a model that is not trained.
  const Tensor& expert_loads() const { return expert_loads_; }
  // The correction biases [E] of the same layers' routers.
  std::vector<ModelBuffer*> router_biases();
  // From now on a backward from Loss includes `weight` times the sequence-wise balance loss of
  // every router (kernels/moe/moe_balance.h), a mean over tokens as the loss is; 0: not.
  void SetBalanceLoss(double weight) { balance_loss_weight_ = weight; }
  // Its sum over the layers since ZeroGradients, [1] Acc; defined where expert_loads is.
  const Tensor& balance_loss() const { return balance_loss_; }

  // In the order of the forward: the embedding, the blocks, and the final norm with the head. With
  // tied embeddings the final norm belongs to the first one, which then is in use to the end.
  std::vector<Unit>& units() { return units_; }
  // Called in every forward and backward from now on; null: no longer.
  void SetUnitHooks(UnitHooks* hooks) { hooks_ = hooks; }

  std::vector<Mixer*> mixers() const;  // of the blocks

  const ModelConfig& config() const { return config_; }
  Device device() const { return device_; }
  DType compute() const { return compute_; }
  const ShardingLayout& sharding_layout() const { return sharding_layout_; }
  int64_t num_parameters();  // of the whole model
  // Those that take part in the work on one token: of the experts, experts_per_token.
  int64_t num_active_parameters();
  // They are then read through Parameter::var.grad(). On the GPU their memory is freed until
  // backward writes them, so that one micro-batch's activations and gradients share it.
  void ZeroGradients();

 private:
  friend int64_t CountParameters(const ModelConfig& config);
  friend int64_t CountActiveParameters(const ModelConfig& config);
  // Declares the parameters, without memory.
  explicit Model(const ModelConfig& config, Communicator* experts = nullptr);
  void Allocate();
  int HeadUnit() const { return config_.tie_embeddings ? 0 : static_cast<int>(units_.size()) - 1; }
  // Around the ops of a unit.
  void Enter(Tape& tape, int unit) const;
  void Leave(Tape& tape, int unit) const;
  // Embedding and blocks; it returns inside the head's unit.
  Stream Trunk(Tape& tape, const Tensor& ids, const Packing& packing, DecodeCache* cache,
               double balance_factor = 0);

  ModelConfig config_;
  ShardingLayout sharding_layout_;
  Device device_ = Device::kCpu;
  DType compute_ = DType::kFloat32;
  bool trainable_ = true;
  int64_t num_recomputed_ = 0;
  RecomputePolicy recompute_ = RecomputePolicy::kNone;
  std::vector<Unit> units_;
  UnitHooks* hooks_ = nullptr;
  std::vector<std::unique_ptr<Block>> blocks_;
  Parameter* embedding_ = nullptr;
  Parameter* head_ = nullptr;  // the embedding itself when tied
  std::unique_ptr<Norm> final_norm_;
  double balance_loss_weight_ = 0;
  Tensor expert_loads_, balance_loss_;
};

// Parameters of a model of this valid configuration, without memory for one.
int64_t CountParameters(const ModelConfig& config);
// Those that take part in the work on one token.
int64_t CountActiveParameters(const ModelConfig& config);

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MODEL_H_
