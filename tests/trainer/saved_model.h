// Writes a model's checkpoint as a run of one rank does.
#ifndef WYVERN_TESTS_TRAINER_SAVED_MODEL_H_
#define WYVERN_TESTS_TRAINER_SAVED_MODEL_H_

#include <string>
#include <utility>

#include "trainer/checkpoint/model.h"
#include "trainer/checkpoint/saver.h"
#include "trainer/checkpoint/sharded_state.h"

namespace wyvern {

// The checkpoint of `step` in the folder of a run, the only one that stays there.
inline absl::Status SaveRun(const std::string& run_dir, int64_t step, const Optimizer& optimizer,
                            const TrainingState& state, nlohmann::json meta = {}) {
  CheckpointContents contents{
      .step = step, .parts = PartsToWrite(optimizer, nullptr), .meta = std::move(meta)};
  for (const NamedTensor& t : CommonTensors(state, &contents.meta)) {
    contents.parts.push_back({{t.name, t.tensor.shape(), t.tensor.dtype()}, 0, t.tensor});
  }
  const std::unique_ptr<World> world = World::Single();
  CheckpointSaver saver(run_dir, /*keep_last=*/1, world.get(), Device::kCpu);
  const absl::Status started = saver.Start(std::move(contents));
  return started.ok() ? saver.Wait()->status : started;
}

// Saves a model whose optimizer has not begun.
inline absl::Status SaveRun(const std::string& run_dir, int64_t step, const TrainingState& state,
                            nlohmann::json meta = {}) {
  return SaveRun(run_dir, step, Optimizer(state.model, {}), state, std::move(meta));
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_SAVED_MODEL_H_
