#include "trainer/commands/serve_model.h"

#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/run/stop_signal.h"
#include "trainer/server/http_server.h"

namespace wyvern {

absl::Status ServeModel(const ServedModel& served, Model* model, const ServeOptions& options,
                        const ModelWorkerOptions& worker_options) {
  const StopSignal stop;
  ModelWorker worker(model, worker_options);
  ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> server,
                   HttpServer::Listen(&served, &worker, options.host, options.port));
  const bool only_here = options.host == "localhost" || options.host == "::1" ||
                         absl::StartsWith(options.host, "127.");
  if (!only_here) {
    SayError("warning: whoever reaches this port may use the model; there is no password");
  }
  const bool is_ipv6 = absl::StrContains(options.host, ':');
  Say(absl::StrCat("serving ", served.name(), " at http://",
                   is_ipv6 ? absl::StrCat("[", options.host, "]") : options.host, ":",
                   server->port(), "/v1"));
  std::thread thread([&] { server->Serve(); });
  while (StopSignal::Received() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  worker.End();
  server->Stop();
  thread.join();
  Say(absl::StrCat("stopped by ", SignalName(StopSignal::Received())));
  return absl::OkStatus();
}

}  // namespace wyvern
