#include "trainer/parallel/sharded_state.h"

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

std::string StateName(const Parameter& p, const char* state) {
  return absl::StrCat("optimizer/", p.name, "/", state);
}

}  // namespace

TrainingState GatherState(Model* model, const Optimizer& optimizer, const Mesh& mesh) {
  TrainingState result{.model = model};
  for (const Optimizer::FlatState& state : optimizer.flat_states()) {
    const FlatParameters& flat = *state.flat;
    const auto gather = [&](const Tensor& shard, const auto& add) {
      const Tensor whole = Tensor::Empty({flat.num_elements()}, shard.dtype(), shard.device());
      mesh.shard().AllGather(shard.raw(), whole.raw(), flat.shard_size(), shard.dtype()).Wait();
      if (mesh.world().rank() != 0) return;
      for (const Parameter* p : flat.parameters()) {
        const int64_t begin = flat.OffsetOf(*p);
        const Tensor part = whole.Rows(begin, begin + NumElements(p->shape)).Reshape(p->shape);
        add(*p, part.To(Device::kCpu));
      }
    };
    gather(flat.master_shard(), [&](const Parameter& p, const Tensor& t) {
      result.parameters.push_back({absl::StrCat("model/", p.name), t});
    });
    for (const Tensor& shard : {state.m, state.v}) {
      if (!shard.defined()) continue;
      gather(shard, [&](const Parameter& p, const Tensor& t) {
        for (const Optimizer::NamedState& part : optimizer.StatesOf(state, p)) {
          if (part.shard.raw() == shard.raw()) {
            result.optimizer.push_back({StateName(p, part.name), t});
          }
        }
      });
    }
  }
  return result;
}

absl::Status ReadShards(const CheckpointInfo& checkpoint, Model* model,
                        const Optimizer& optimizer) {
  const DType dtype = AccDType(model->compute());
  for (const Optimizer::FlatState& state : optimizer.flat_states()) {
    std::vector<NamedTensor> tensors;
    for (const Parameter* p : state.flat->parameters()) {
      const auto add = [&](const std::string& name) {
        tensors.push_back({name, Tensor::Empty(p->shape, dtype, Device::kCpu)});
      };
      add(absl::StrCat("model/", p->name));
      for (const auto& part : optimizer.StatesOf(state, *p)) add(StateName(*p, part.name));
    }
    RETURN_IF_ERROR(ReadCheckpoint(checkpoint.path, tensors));
    size_t next = 0;
    for (const Parameter* p : state.flat->parameters()) {
      p->Assign(tensors[next++].tensor);
      const FlatParameters::Piece piece = state.flat->PieceOf(*p);
      for (const auto& part : optimizer.StatesOf(state, *p)) {
        const Tensor whole = tensors[next++].tensor;
        if (piece.size() == 0) continue;
        FlatParameters::PartOf(part.shard, piece)
            .CopyFrom(whole.Reshape({-1}).Rows(piece.begin, piece.end));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace wyvern
