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
    gather(state.m, [&](const Parameter& p, const Tensor& t) {
      result.optimizer.push_back({StateName(p, "m"), t});
    });
    gather(state.v, [&](const Parameter& p, const Tensor& t) {
      result.optimizer.push_back({StateName(p, "v"), t});
    });
  }
  return result;
}

absl::Status ReadShards(const CheckpointInfo& checkpoint, Model* model,
                        const Optimizer& optimizer) {
  const DType dtype = AccDType(model->compute());
  for (const Optimizer::FlatState& state : optimizer.flat_states()) {
    std::vector<NamedTensor> tensors;
    for (const Parameter* p : state.flat->parameters()) {
      for (const std::string& name :
           {absl::StrCat("model/", p->name), StateName(*p, "m"), StateName(*p, "v")}) {
        tensors.push_back({name, Tensor::Empty(p->shape, dtype, Device::kCpu)});
      }
    }
    RETURN_IF_ERROR(ReadCheckpoint(checkpoint.path, tensors));
    size_t next = 0;
    for (const Parameter* p : state.flat->parameters()) {
      p->Assign(tensors[next++].tensor);
      const FlatParameters::Piece piece = state.flat->PieceOf(*p);
      for (const Tensor& shard : {state.m, state.v}) {
        const Tensor whole = tensors[next++].tensor;
        if (piece.size() == 0) continue;
        FlatParameters::PartOf(shard, piece)
            .CopyFrom(whole.Reshape({-1}).Rows(piece.begin, piece.end));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace wyvern
