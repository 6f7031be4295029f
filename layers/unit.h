// The sharding layout: how the memory of a model's parameters is laid out, and sharded over ranks.
//
// A unit (FSDP's word) is what is recomputed, sharded and communicated as one: a block, the
// embedding, or the final norm with the head. The large parameters of a unit (matrices, embeddings:
// kept in the compute dtype) lie one after another in one flat buffer, the small ones (kept in the
// accumulation dtype) in another. Their gradients lie at the same places of a flat buffer of
// gradients. Experts that are partitioned over ranks, whole ones on each, have a third buffer. It
// is sharded over other ranks than the rest: those that have the same experts.
//
// Flat buffers are padded and cut into equal shards, one for each rank of a shard group. A rank
// updates its own shard (ZeRO, arXiv 1910.02054):
//
//   ZeRO stage 1: master weights and optimizer state exist for the own shard only;
//   ZeRO stage 2: and gradients, which are whole only around a unit's backward;
//   ZeRO stage 3: and parameters, which are whole only around a unit's forward and backward.
#ifndef WYVERN_LAYERS_UNIT_H_
#define WYVERN_LAYERS_UNIT_H_

#include <string>
#include <vector>

#include "autograd/tensor.h"

namespace wyvern {

class Communicator;
struct Parameter;

struct Sharding {
  int64_t index = 0, count = 1;   // this rank in its shard group, and the group's size
  int stage = 1;                  // the ZeRO stage; of no effect with count 1
  Communicator* group = nullptr;  // null: count 1, or a layout that nobody trains

  bool masters() const { return count > 1; }
  bool gradients() const { return count > 1 && stage >= 2; }
  bool values() const { return count > 1 && stage >= 3; }
};

// The sharding layout of a model over the ranks of a run. The groups outlive it.
struct ShardingLayout {
  Sharding sharding;  // of all parameters but partitioned experts
  // The EP group: each rank has a part of every layer's experts, whole ones; null: all of them.
  Communicator* experts = nullptr;
  // The sharding of such experts over the ranks that have the same ones: ZeRO stage 1 or 2, their
  // parameters stay whole.
  Sharding expert_sharding;
};

// The parameters of a unit that share a type. Parameters begin at multiples of kAlignment elements,
// those of one ParameterGroup without gaps. Gaps and padding are never read.
class FlatParameters {
 public:
  static constexpr int64_t kAlignment = 128;

  // Gives `parameters` their places and memory, in this order. A trainable model has gradients and,
  // for bf16 parameters, fp32 master weights.
  void Allocate(const std::vector<Parameter*>& parameters, DType type, DType master, Device device,
                bool trainable, const Sharding& sharding);

  bool empty() const { return parameters_.empty(); }
  const std::vector<Parameter*>& parameters() const { return parameters_; }
  const Sharding& sharding() const { return sharding_; }
  int64_t num_elements() const { return num_elements_; }  // with padding: shard_size() * count
  int64_t shard_size() const { return num_elements_ / sharding_.count; }
  int64_t shard_begin() const { return sharding_.index * shard_size(); }
  int64_t OffsetOf(const Parameter& parameter) const;

  // [num_elements]. Freed while they are not whole (sharding().values(), gradients());
  // parameters' tensors are views of them. Gradients undefined in a model that is not trained.
  const Tensor& values() const { return values_; }
  const Tensor& gradients() const { return gradients_; }

  // [shard_size], this rank's; parts of the above where those are always whole. The master shard is
  // the value shard where the types agree; undefined for bf16 parameters that are not trained.
  const Tensor& value_shard() const { return value_shard_; }
  const Tensor& master_shard() const { return master_shard_; }
  const Tensor& gradient_shard() const { return gradient_shard_; }

  // The slice of `parameter` in this rank's shard: elements [begin, end) of it, row-major, which
  // are elements [shard_offset, ...) of the shard. begin == end: none.
  struct Slice {
    int64_t begin = 0, end = 0, shard_offset = 0;
    int64_t size() const { return end - begin; }
  };
  Slice SliceOf(const Parameter& parameter) const;
  // The slice's elements of a tensor [shard_size].
  static Tensor PartOf(const Tensor& shard, const Slice& slice);

  // The tensors that an update of `parameter` changes on this rank: its slice of the master weights
  // and, where the compute copy is apart from them, of that. All undefined of an empty slice.
  struct Updated {
    Slice slice;
    Tensor master, copy;  // [slice.size()]; copy undefined: the master is the value
  };
  Updated UpdatedOf(const Parameter& parameter) const;

  // Sets this rank's slice of a trained parameter, master weights and compute copy, from all of it.
  void Assign(const Parameter& parameter, const Tensor& from) const;

 private:
  std::vector<Parameter*> parameters_;
  std::vector<int64_t> offsets_;  // of parameters_
  Sharding sharding_;
  int64_t num_elements_ = 0;
  Tensor values_, gradients_, value_shard_, master_shard_, gradient_shard_;
};

struct Unit {
  std::string name;  // "embedding", "blocks.3", "head"
  FlatParameters large, small, experts;

  std::vector<FlatParameters*> flats();  // those that are not empty
};

// Hears from a model's forward and backward when a unit's parameters are read and its gradients are
// complete. Calls come in pairs; units are numbered as in Model::units().
class UnitHooks {
 public:
  virtual ~UnitHooks() = default;
  virtual void BeforeForward(int unit) = 0;
  // `recording`: a backward through the unit follows.
  virtual void AfterForward(int unit, bool recording) = 0;
  virtual void BeforeBackward(int unit) = 0;
  virtual void AfterBackward(int unit) = 0;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_UNIT_H_
