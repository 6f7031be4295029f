// The one thread that runs a model for many clients.
#ifndef WYVERN_TRAINER_SERVER_MODEL_WORKER_H_
#define WYVERN_TRAINER_SERVER_MODEL_WORKER_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/scoring/scorer.h"

namespace wyvern {

// The work that one client asks of the model.
struct ModelWork {
  std::vector<ScoreRequest> scores;
  std::vector<GenerateRequest> prompts;
  int64_t top_k = 0;  // alternatives listed for each token
};

struct ModelAnswer {
  std::vector<ScoreResult> scores;        // of ModelWork::scores
  std::vector<GenerateResult> generated;  // of ModelWork::prompts
};

struct ModelWorkerOptions {
  ScorerOptions scorer;     // its top_k has no effect
  size_t max_waiting = 64;  // works that wait while others are done
  // From its arrival on, after which a work is given up.
  std::chrono::duration<double> time_limit = std::chrono::minutes(10);
};

// Works that have come while the model was busy are done together, as one batch.
class ModelWorker {
 public:
  // `model` outlives this; no other thread uses it meanwhile.
  ModelWorker(Model* model, ModelWorkerOptions options);
  ~ModelWorker();

  // Called once for each accepted work, on the worker's thread, which it must not hold up. Errors:
  // Cancelled, DeadlineExceeded, those of the scorer.
  using OnDone = std::function<void(absl::StatusOr<ModelAnswer>)>;
  // The works' on_token are called on the worker's thread, too. Errors: ResourceExhausted where too
  // many wait, Cancelled after End. `on_done` is then never called.
  absl::Status Submit(ModelWork work, OnDone on_done);
  // Submits and waits.
  absl::StatusOr<ModelAnswer> Run(ModelWork work);

  // Gives up what is running, at its next token, and what waits. Nothing is accepted any more.
  void End();

 private:
  struct Job {
    ModelWork work;
    OnDone on_done;
    std::chrono::steady_clock::time_point deadline;
    absl::Status given_up;  // why its texts were ended
  };
  void Loop();
  absl::Status WhyGiveUp(const Job& job);
  void DoTogether(std::vector<Job>* jobs);

  Model* model_;
  const ModelWorkerOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Job> waiting_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SERVER_MODEL_WORKER_H_
