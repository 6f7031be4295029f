// Assembles in one place all that computes the steps of a run.
#ifndef WYVERN_TRAINER_RUN_ENGINE_H_
#define WYVERN_TRAINER_RUN_ENGINE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/comm/world.h"
#include "layers/model.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/data_parallel.h"
#include "trainer/parallel/mesh.h"
#include "trainer/run/run_plan.h"

namespace wyvern {

// Each part uses those before it.
struct Engine {
  std::unique_ptr<Mesh> mesh;  // null on one rank, and so is `parallel`
  std::unique_ptr<Model> model;
  std::unique_ptr<DataParallel> parallel;
  std::unique_ptr<Optimizer> optimizer;
};

// The mesh of a plan; null on one rank. All ranks call it and get the same status. Error: NCCL
// cannot start.
absl::StatusOr<std::unique_ptr<Mesh>> MakeMesh(const RunPlan& plan, World* world);

// The engine on the mesh that MakeMesh has made. Parameters are undefined, optimizer states zero.
// From now on, running out of memory advises what to lower.
Engine MakeEngine(const RunPlan& plan, std::unique_ptr<Mesh> mesh);

// Both at once.
absl::StatusOr<Engine> MakeEngine(const RunPlan& plan, World* world);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_ENGINE_H_
