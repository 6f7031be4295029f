#include "trainer/server/http_server.h"

#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/io/json_members.h"
#include "kernels/runtime/status.h"
#include "trainer/requests/json_fields.h"
#include "trainer/server/completion.h"
#include "trainer/server/text_channel.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;
using nlohmann::ordered_json;

constexpr char kJson[] = "application/json";
constexpr size_t kMaxBodyBytes = size_t{16} << 20;
// Each open connection takes a thread; those that wait for the worker leave some free.
constexpr size_t kThreads = 96;
constexpr time_t kIdleSeconds = 5;
constexpr time_t kSocketSeconds = 30;  // a client that sends or takes nothing meanwhile is left

int HttpStatus(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kResourceExhausted:
      return 503;
    default:
      return 500;
  }
}

Json ErrorJson(int http_status, const std::string& message) {
  return {{"error",
           {{"message", message},
            {"type", http_status < 500 ? "invalid_request_error" : "server_error"},
            {"param", nullptr},
            {"code", http_status}}}};
}

void SendError(int http_status, const std::string& message, httplib::Response* response) {
  response->status = http_status;
  response->set_content(JsonText(ErrorJson(http_status, message)), kJson);
}

// The handler of a request whose body is an object. It may answer by itself and return null.
using JsonHandler =
    std::function<absl::StatusOr<Json>(const ordered_json& body, httplib::Response* response)>;

httplib::Server::Handler Answering(JsonHandler handler) {
  return
      [handler = std::move(handler)](const httplib::Request& request, httplib::Response& response) {
        const auto answer = [&]() -> absl::StatusOr<Json> {
          ASSIGN_OR_RETURN(const ordered_json body, ParseOrderedJson(request.body, "the body"));
          if (!body.is_object()) return absl::InvalidArgumentError("the body: expected an object");
          return handler(body, &response);
        }();
        if (!answer.ok()) {
          const int status = HttpStatus(answer.status());
          if (status == 503) response.set_header("Retry-After", "1");
          SendError(status, std::string(answer.status().message()), &response);
        } else if (!answer->is_null()) {
          response.set_content(JsonText(*answer), kJson);
        }
      };
}

std::string Event(const Json& json) { return absl::StrCat("data: ", JsonText(json), "\n\n"); }

// A completion whose texts are sent as they come. The worker and the sender share it.
struct Streamed {
  explicit Streamed(Completion c) : completion(std::move(c)) {}

  Completion completion;
  TextChannel channel;
  bool begun = false;

  // Sends what there is, and waits for it. Returns whether the client is still there.
  bool SendNext(httplib::DataSink* sink) {
    std::string events;
    const size_t choices = completion.request().prompts.size();
    if (!begun) {
      begun = true;
      for (size_t i = 0; i < choices; ++i) events += Event(completion.FirstChunk(i));
      return sink->write(events.data(), events.size());
    }
    if (const std::optional<TextChannel::Text> text = channel.Take()) {
      events = Event(completion.TextChunk(text->choice, text->text));
      return sink->write(events.data(), events.size());
    }
    const absl::StatusOr<ModelAnswer>& answer = channel.answer();
    if (!answer.ok()) {
      events =
          Event(ErrorJson(HttpStatus(answer.status()), std::string(answer.status().message())));
    } else {
      for (size_t i = 0; i < choices; ++i) {
        const std::string rest = completion.Rest(i);
        if (!rest.empty()) events += Event(completion.TextChunk(i, rest));
        events += Event(completion.LastChunk(i, *answer));
      }
      if (completion.request().stream_usage) events += Event(completion.UsageChunk(*answer));
    }
    events += "data: [DONE]\n\n";
    const bool sent = sink->write(events.data(), events.size());
    sink->done();
    return sent;
  }
};

}  // namespace

struct HttpServer::Parts {
  const ServedModel* model;
  ModelWorker* worker;
  httplib::Server server;
  int port = 0;
  std::atomic<int64_t> num_completions{0};
  std::atomic<bool> ended{false};

  void AddRoutes();
  absl::StatusOr<Json> Complete(CompletionRequest request, httplib::Response* response);
  absl::Status Stream(Completion completion, httplib::Response* response);
};

absl::StatusOr<Json> HttpServer::Parts::Complete(CompletionRequest request,
                                                 httplib::Response* response) {
  const std::string id =
      absl::StrCat(request.chat ? "chatcmpl-" : "cmpl-", num_completions.fetch_add(1));
  Completion completion(model, std::move(request), id, std::time(nullptr));
  if (completion.request().stream) {
    RETURN_IF_ERROR(Stream(std::move(completion), response));
    return Json();
  }
  ASSIGN_OR_RETURN(ModelAnswer answer, worker->Run(completion.Work(nullptr)));
  return completion.Answer(std::move(answer));
}

absl::Status HttpServer::Parts::Stream(Completion completion, httplib::Response* response) {
  const auto streamed = std::make_shared<Streamed>(std::move(completion));
  ModelWork work = streamed->completion.Work([streamed](size_t choice, const std::string& text) {
    return streamed->channel.Put(choice, text);
  });
  RETURN_IF_ERROR(worker->Submit(std::move(work), [streamed](absl::StatusOr<ModelAnswer> answer) {
    streamed->channel.Close(std::move(answer));
  }));
  response->set_chunked_content_provider(
      "text/event-stream",
      [streamed](size_t, httplib::DataSink& sink) { return streamed->SendNext(&sink); },
      [streamed](bool) { streamed->channel.Abandon(); });
  return absl::OkStatus();
}

void HttpServer::Parts::AddRoutes() {
  server.Get("/health", [](const httplib::Request&, httplib::Response& response) {
    response.set_content(JsonText({{"status", "ok"}}), kJson);
  });
  server.Get("/v1/models", [this](const httplib::Request&, httplib::Response& response) {
    const Json only = {{"id", model->name()},
                       {"object", "model"},
                       {"created", std::time(nullptr)},
                       {"owned_by", "wyvern"}};
    response.set_content(JsonText({{"object", "list"}, {"data", Json::array({only})}}), kJson);
  });
  server.Get("/tokenizer_info", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(JsonText(model->TokenizerInfo()), kJson);
  });
  server.Post("/tokenize", Answering([this](const ordered_json& body,
                                            httplib::Response*) -> absl::StatusOr<Json> {
                const Json plain(body);
                ASSIGN_OR_RETURN(const std::string prompt, JsonFields(plain).Text("prompt"));
                ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, model->Encode(prompt));
                return Json{{"tokens", tokens}, {"count", tokens.size()}};
              }));
  server.Post("/detokenize", Answering([this](const ordered_json& body,
                                              httplib::Response*) -> absl::StatusOr<Json> {
                const Json plain(body);
                const JsonFields fields(plain);
                const Json* tokens = fields.Find("tokens");
                const auto ids = tokens == nullptr ? std::nullopt : TokenIds(*tokens);
                if (!ids.has_value()) return fields.Expected("tokens", "a list of token ids");
                return Json{{"prompt", model->tokenizer().Decode(*ids)}};
              }));
  server.Post("/v1/completions",
              Answering([this](const ordered_json& body,
                               httplib::Response* response) -> absl::StatusOr<Json> {
                ASSIGN_OR_RETURN(CompletionRequest request, ParseCompletion(body, *model));
                return Complete(std::move(request), response);
              }));
  server.Post("/v1/chat/completions",
              Answering([this](const ordered_json& body,
                               httplib::Response* response) -> absl::StatusOr<Json> {
                ASSIGN_OR_RETURN(CompletionRequest request, ParseChat(body, *model));
                return Complete(std::move(request), response);
              }));
  server.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
    if (!response.body.empty()) return;
    std::string what = absl::StrCat("HTTP error ", response.status);
    if (response.status == 404)
      what = absl::StrCat("there is no ", request.method, " ", request.path);
    if (response.status == 413) {
      what = absl::StrCat("the body is larger than ", kMaxBodyBytes >> 20, " MiB");
    }
    SendError(response.status, what, &response);
  });
  server.set_exception_handler(
      [](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
        SendError(500, "an error in the server", &response);
      });
}

HttpServer::HttpServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Listen(const ServedModel* model,
                                                               ModelWorker* worker,
                                                               const std::string& host, int port) {
  auto parts = std::make_unique<Parts>();
  parts->model = model;
  parts->worker = worker;
  httplib::Server& server = parts->server;
  parts->AddRoutes();
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server.set_payload_max_length(kMaxBodyBytes);
  server.set_keep_alive_timeout(kIdleSeconds);
  server.set_keep_alive_max_count(1000);
  server.set_read_timeout(kSocketSeconds);
  server.set_write_timeout(kSocketSeconds);
  server.set_tcp_nodelay(true);
  // By default two servers could share a port.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  parts->port = port;
  const bool bound = port == 0 ? (parts->port = server.bind_to_any_port(host)) > 0
                               : server.bind_to_port(host, port);
  if (!bound) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen at ", host, ":", port,
        ": the port is taken, or the address is not this machine's; choose another --port or "
        "--host"));
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(parts)));
}

int HttpServer::port() const { return parts_->port; }

void HttpServer::Serve() {
  parts_->server.listen_after_bind();
  parts_->ended = true;
}

void HttpServer::Stop() {
  // Stopping a server that has not begun to listen has no effect.
  while (!parts_->server.is_running() && !parts_->ended) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  parts_->server.stop();
}

}  // namespace wyvern
