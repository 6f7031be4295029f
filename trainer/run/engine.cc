#include "trainer/run/engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

void AdviseOnMemory(const RunConfig& config) {
  SetOutOfMemoryAdvice(absl::StrCat(
      "lower train.micro_batch (now ", config.train.micro_batch, ") or data.seq_len (now ",
      config.data.seq_len, "), set train.recompute or raise train.recompute_blocks (now ",
      config.train.recompute_blocks, " of ", config.model.num_layers,
      "), or take a smaller model; `wyvern config show` estimates the memory beforehand"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Mesh>> MakeMesh(const RunPlan& plan, World* world) {
  if (world->size() == 1) return nullptr;
  if (plan.device == Device::kMeta) return Mesh::Create(world, plan.mesh, plan.device);
  SetCommTimeout(plan.config.parallel.timeout);
  absl::StatusOr<std::unique_ptr<Mesh>> mesh = Mesh::Create(world, plan.mesh, plan.device);
  RETURN_IF_ERROR(Agree(world->host(), mesh.status()));
  return mesh;
}

Engine MakeEngine(const RunPlan& plan, std::unique_ptr<Mesh> mesh) {
  const RunConfig& config = plan.config;
  if (plan.device != Device::kMeta) AdviseOnMemory(config);
  Engine engine{.mesh = std::move(mesh)};
  ShardingLayout layout;
  if (engine.mesh != nullptr) {
    layout = engine.mesh->LayoutAt(static_cast<int>(config.parallel.zero));
  }
  engine.model = Model::Create(config.model, plan.device, plan.compute, /*trainable=*/true, layout);
  engine.model->RecomputeBlocks(config.train.recompute_blocks);
  engine.model->SetRecompute(config.train.recompute);
  engine.model->SetBalanceLoss(config.train.balance_loss);
  if (engine.mesh != nullptr) {
    engine.parallel = std::make_unique<DataParallel>(engine.model.get(), engine.mesh.get());
  }
  engine.optimizer = std::make_unique<Optimizer>(engine.model.get(), config.optimizer);
  return engine;
}

absl::StatusOr<Engine> MakeEngine(const RunPlan& plan, World* world) {
  ASSIGN_OR_RETURN(std::unique_ptr<Mesh> mesh, MakeMesh(plan, world));
  return MakeEngine(plan, std::move(mesh));
}

}  // namespace wyvern
