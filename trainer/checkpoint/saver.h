// Checkpoints of a running training, written by all its ranks at once and in the background.
//
//   Start    (all ranks) rank 0 makes a temporary folder; every rank copies the parts that it is
//            to save into host memory: the only time that training stalls.
//   1.       A thread of every rank writes its shards and syncs them. It talks to no other rank.
//   Advance  (all ranks, at the end of each step) with what they have agreed on: is a thread still
//            at work? If none is and all succeeded, rank 0 gets every rank's list of slices.
//   2.       A thread of rank 0 merges the lists, checks that they cover every tensor and that
//            every shard is there in full size, writes the manifest, renames the folder and
//            rotates.
//   Advance  When that is done, all ranks learn how it ended.
//
// So a folder gets a checkpoint's name only after every rank has said that its shards are on disk;
// a rank that dies or fails before that leaves a temporary folder, which the next Start removes.
#ifndef WYVERN_TRAINER_CHECKPOINT_SAVER_H_
#define WYVERN_TRAINER_CHECKPOINT_SAVER_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "kernels/comm/world.h"
#include "kernels/runtime/staging.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/tensors.h"
#include "trainer/checkpoint/write.h"

namespace wyvern {

// All that a run saves at a step.
struct CheckpointContents {
  int64_t step = 0;
  // Every tensor of the checkpoint, with what this rank is to write of it. The parts of all ranks
  // cover each tensor once.
  std::vector<TensorPart> parts;
  nlohmann::json meta;  // rank 0
  // Rank 0, on its thread, before the checkpoint appears under its name: an error keeps it from it.
  std::function<absl::Status()> before_publishing;
};

// How a checkpoint ended; the same on all ranks.
struct SavedCheckpoint {
  int64_t step = 0;
  absl::Status status;    // of the first rank that failed, with its number where there are several
  int64_t num_bytes = 0;  // of tensors, by all ranks
  double stall_ms = 0;    // that the step loop stalled in Start, on the slowest rank
  double seconds = 0;     // from Start to the end
};

class CheckpointSaver {
 public:
  // Writes into RUN/checkpoints and keeps `keep_last` as WriteCheckpoint does. All ranks of `world`
  // make the same calls; `device` is where the parts lie. `world` outlives this.
  CheckpointSaver(std::string run_dir, int keep_last, World* world, Device device,
                  const CheckpointWriteOptions& options = {});
  // Waits for this rank's thread. What is in flight then stays a temporary folder.
  ~CheckpointSaver();

  // Begins to make the host memory for these parts, which Start waits for. ResourceExhausted where
  // there is not as much.
  absl::Status Reserve(const std::vector<TensorPart>& parts);

  // Begins a checkpoint; none may be in flight. The parts may change as soon as it returns. Errors,
  // the same on all ranks: the disk has too little space, the folder cannot be made, there is no
  // memory to copy into. Then nothing is in flight.
  absl::Status Start(CheckpointContents contents);

  bool in_flight() const { return phase_ != Phase::kNone; }
  // Whether this rank's thread is at work on it.
  bool busy();
  // Moves it on where `any_busy`, busy() of any rank at one moment, says that it can. Returns its
  // end, once it has come to it; nullopt before, or if there is none. A failed one has left no
  // folder behind.
  std::optional<SavedCheckpoint> Advance(bool any_busy);
  // Advances until nothing is in flight. No rank waits in a collective for another one's disk.
  std::optional<SavedCheckpoint> Wait();

 private:
  enum class Phase { kNone, kWriting, kPublishing };
  // A range of the staging memory.
  struct StagedPart {
    CheckpointTensor tensor;
    int64_t begin, end;
    size_t offset;
  };

  absl::Status Stage(const std::vector<TensorPart>& parts);
  absl::Status WriteShards();
  absl::Status Publish(const std::vector<std::string>& texts);
  // An exception of the work, or of starting it, is its error.
  void RunThread(std::function<absl::Status()> work);
  void RemoveTemporary();
  SavedCheckpoint Finish(const absl::Status& status);

  const std::string run_dir_;
  const int keep_last_;
  World* const world_;
  const Device device_;
  const CheckpointWriteOptions options_;

  Phase phase_ = Phase::kNone;
  CheckpointContents contents_;
  std::string temporary_;
  std::unique_ptr<StagingBuffer> staging_;
  std::vector<StagedPart> staged_;
  Manifest written_;  // by this rank
  SavedCheckpoint result_;
  double began_ = 0;

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool busy_ = false;           // guarded by mutex_
  absl::Status thread_status_;  // of the thread's work, once it is not busy
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_SAVER_H_
