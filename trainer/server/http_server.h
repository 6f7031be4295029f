// OpenAI's completions protocol over HTTP.
#ifndef WYVERN_TRAINER_SERVER_HTTP_SERVER_H_
#define WYVERN_TRAINER_SERVER_HTTP_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/server/model_worker.h"
#include "trainer/server/served_model.h"

namespace wyvern {

// Routes: /v1/completions, /v1/chat/completions, /v1/models, /health, and vLLM's /tokenize,
// /detokenize and /tokenizer_info. What is wrong with a request is its answer, in OpenAI's form of
// errors, and changes nothing for others.
class HttpServer {
 public:
  // Takes the address; port 0: any free one. `model` and `worker` outlive this. Error: the address
  // is taken, or not this machine's.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Listen(const ServedModel* model,
                                                            ModelWorker* worker,
                                                            const std::string& host, int port);
  ~HttpServer();

  int port() const;
  // Answers requests until Stop, which another thread calls and which waits for Serve to begin.
  // Requests that wait for the worker keep it from ending: ModelWorker::End comes before Stop.
  void Serve();
  void Stop();

 private:
  struct Parts;
  explicit HttpServer(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SERVER_HTTP_SERVER_H_
