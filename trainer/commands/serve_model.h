#ifndef WYVERN_TRAINER_COMMANDS_SERVE_MODEL_H_
#define WYVERN_TRAINER_COMMANDS_SERVE_MODEL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "trainer/server/model_worker.h"
#include "trainer/server/served_model.h"

namespace wyvern {

struct ServeOptions {
  std::string host = "127.0.0.1";
  int port = 8000;  // 0: any free one
};

// Serves the model over HTTP until a signal stops it, and prints where.
absl::Status ServeModel(const ServedModel& served, Model* model, const ServeOptions& options,
                        const ModelWorkerOptions& worker_options);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_SERVE_MODEL_H_
