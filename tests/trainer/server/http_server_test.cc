// The server over a small model, asked by HTTP.
#include "trainer/server/http_server.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "tests/trainer/tiny_model.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

// Bytes, with or without eos.
class ByteTokens final : public Tokenizer {
 public:
  // Without eos no text ends by itself.
  explicit ByteTokens(bool has_eos) : has_eos_(has_eos) {}
  std::vector<int32_t> Encode(absl::string_view text) const override {
    return bytes_->Encode(text);
  }
  std::string Decode(absl::Span<const int32_t> ids) const override { return bytes_->Decode(ids); }
  int64_t vocab_size() const override { return bytes_->vocab_size(); }
  std::optional<int32_t> bos_id() const override { return bytes_->bos_id(); }
  std::optional<int32_t> eos_id() const override {
    return has_eos_ ? bytes_->eos_id() : std::nullopt;
  }
  std::string kind() const override { return bytes_->kind(); }
  const std::string& model() const override { return bytes_->model(); }

 private:
  bool has_eos_;
  std::unique_ptr<Tokenizer> bytes_ = MakeByteTokenizer();
};

class HttpServerTest : public testing::Test {
 protected:
  void Start(int64_t max_length = 0, ModelWorkerOptions options = {}, bool has_eos = true,
             const std::string& behind_turn = "") {
    const std::string chat = absl::StrCat(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}",
        behind_turn,
        "{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}");
    served_ = std::make_unique<ServedModel>(*ServedModel::Make(
        "tiny", std::make_unique<ByteTokens>(has_eos), {.source = chat, .origin = "chat.jinja"},
        258, {.max_length = max_length}));
    worker_ = std::make_unique<ModelWorker>(model_.get(), options);
    auto server = HttpServer::Listen(served_.get(), worker_.get(), "127.0.0.1", 0);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    thread_ = std::thread([this] { server_->Serve(); });
    client_ = std::make_unique<httplib::Client>("127.0.0.1", server_->port());
  }
  void TearDown() override {
    if (server_ == nullptr) return;
    client_.reset();
    worker_->End();
    server_->Stop();
    thread_.join();
  }

  // The status and the body of the answer.
  std::pair<int, std::string> PostText(const std::string& path, const std::string& body) const {
    const httplib::Result result = client_->Post(path.c_str(), body, "application/json");
    if (!result) return {0, to_string(result.error())};
    return {result->status, result->body};
  }
  Json Post(const std::string& path, const Json& body) const {
    const auto [status, text] = PostText(path, body.dump());
    EXPECT_EQ(status, 200) << text;
    return Json::parse(text, nullptr, false);
  }
  Json Complete(Json body) const { return Post("/v1/completions", body); }
  // The error of a request that is wrong.
  std::string ErrorOf(const std::string& path, const std::string& body, int expected = 400) const {
    const auto [status, text] = PostText(path, body);
    EXPECT_EQ(status, expected) << text;
    const Json json = Json::parse(text, nullptr, false);
    EXPECT_TRUE(json.contains("error")) << text;
    return json["error"]["message"];
  }

  std::unique_ptr<Model> model_ = TinyModel(258);
  std::unique_ptr<ServedModel> served_;
  std::unique_ptr<ModelWorker> worker_;
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(HttpServerTest, SaysThatItIsThereAndWhatItServes) {
  Start();
  EXPECT_EQ(client_->Get("/health")->status, 200);
  const Json models = Json::parse(client_->Get("/v1/models")->body);
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  EXPECT_EQ(client_->Get("/v1/model")->status, 404);
  EXPECT_TRUE(absl::StrContains(client_->Get("/v1/model")->body, "there is no GET /v1/model"));
}

TEST_F(HttpServerTest, CompletesWhatGenerateWouldWrite) {
  Start(0, {}, /*has_eos=*/false);
  const Json body = {{"prompt", "Wy"}, {"max_tokens", 6}, {"temperature", 0}};
  const Json answer = Complete(body);
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 6);
  const Json& choice = answer["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "length");
  const auto tokenizer = MakeByteTokenizer();
  GenerateOptions options{.max_tokens = 6};
  options.sampling.temperature = 0;
  const auto alone = GenerateText(model_.get(), *tokenizer, "Wy", options);
  EXPECT_TRUE(absl::StartsWith(choice["text"].get<std::string>(), alone->text));
  // The same of ids, several at once, and of the same seed.
  const Json ids = {{"prompt", {{87, 121}, {87, 121}}}, {"max_tokens", 6}, {"temperature", 0}};
  EXPECT_EQ(Complete(ids)["choices"][1]["text"], choice["text"]);
  const Json warm = {{"prompt", {87, 121}}, {"max_tokens", 6}, {"temperature", 2}, {"seed", 5}};
  EXPECT_EQ(Complete(warm)["choices"], Complete(warm)["choices"]);
}

TEST_F(HttpServerTest, EchoesThePromptWithItsLogProbabilities) {
  Start(0, {}, /*has_eos=*/false);
  Json body = {{"prompt", "delta"}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 2}};
  const Json scored = Complete(body)["choices"][0];
  EXPECT_EQ(scored["text"], "delta");
  const Json& log_probs = scored["logprobs"];
  EXPECT_EQ(log_probs["tokens"], Json({"d", "e", "l", "t", "a"}));
  EXPECT_EQ(log_probs["text_offset"], Json({0, 1, 2, 3, 4}));
  EXPECT_TRUE(log_probs["token_logprobs"][0].is_null());
  EXPECT_TRUE(log_probs["top_logprobs"][0].is_null());
  Scorer scorer(model_.get());
  const auto result = scorer.Score(std::vector<ScoreRequest>{{{'d'}, {'e', 'l', 't', 'a'}}});
  for (size_t t = 0; t < 4; ++t) {
    EXPECT_NEAR(log_probs["token_logprobs"][t + 1].get<double>(),
                (*result)[0].tokens[t].log_likelihood, 1e-5);
    EXPECT_GE(log_probs["top_logprobs"][t + 1].size(), 2u);
  }
  // One greedy token more is the likeliest of the last place, alone or as one of several.
  for (const int max_tokens : {1, 2}) {
    body["max_tokens"] = max_tokens;
    body["temperature"] = 0;
    const Json more = Complete(body)["choices"][0]["logprobs"];
    ASSERT_GE(more["tokens"].size(), 6u);
    double likeliest = -1e9;
    for (const auto& [token, value] : more["top_logprobs"][5].items()) {
      likeliest = std::max(likeliest, value.get<double>());
    }
    EXPECT_EQ(more["token_logprobs"][5].get<double>(), likeliest);
    EXPECT_NEAR(more["token_logprobs"][4].get<double>(),
                log_probs["token_logprobs"][4].get<double>(), 1e-5);
  }
}

TEST_F(HttpServerTest, StreamsTheSameText) {
  Start();
  Json body = {{"prompt", {"Wy", "ab"}}, {"max_tokens", 12}, {"temperature", 2}, {"seed", 3}};
  const Json whole = Complete(body);
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const auto [status, text] = PostText("/v1/completions", body.dump());
  ASSERT_EQ(status, 200) << text;
  std::vector<std::string> events = absl::StrSplit(text, "\n\n", absl::SkipEmpty());
  ASSERT_GT(events.size(), 6u);
  EXPECT_EQ(events.back(), "data: [DONE]");
  events.pop_back();
  std::vector<std::string> texts(2);
  std::vector<Json> reasons(2);
  Json usage;
  for (const std::string& event : events) {
    ASSERT_TRUE(absl::StartsWith(event, "data: ")) << event;
    const Json chunk = Json::parse(event.substr(6));
    if (chunk.contains("usage")) usage = chunk["usage"];
    for (const Json& choice : chunk["choices"]) {
      texts[choice["index"]] += choice["text"];
      if (!choice["finish_reason"].is_null()) reasons[choice["index"]] = choice["finish_reason"];
    }
  }
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(texts[i], whole["choices"][i]["text"]);
    EXPECT_EQ(reasons[i], whole["choices"][i]["finish_reason"]);
  }
  EXPECT_EQ(usage, whole["usage"]);
}

TEST_F(HttpServerTest, StopsBeforeAStopString) {
  Start(0, {}, /*has_eos=*/false);
  const Json body = {{"prompt", "Wy"}, {"max_tokens", 40}, {"temperature", 2}, {"seed", 1}};
  const std::string text = Complete(body)["choices"][0]["text"];
  ASSERT_GT(text.size(), 20u);
  // Two neighbouring ASCII characters, a token each.
  size_t at = 3;
  while (at + 2 < text.size() && (text[at] & 0x80 || text[at + 1] & 0x80)) ++at;
  const std::string stop = text.substr(at, 2);
  Json stopping = body;
  stopping["stop"] = {stop, "never there"};
  const Json choice = Complete(stopping)["choices"][0];
  EXPECT_EQ(choice["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(choice["finish_reason"], "stop");
}

TEST_F(HttpServerTest, ChatsByTheTemplate) {
  Start();
  const Json body = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}},
                     {"max_completion_tokens", 5},
                     {"temperature", 0}};
  const Json answer = Post("/v1/chat/completions", body);
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["choices"][0]["message"]["role"], "assistant");
  const Json same = {{"prompt", "user: Hi\nassistant:"}, {"max_tokens", 5}, {"temperature", 0}};
  EXPECT_EQ(answer["choices"][0]["message"]["content"], Complete(same)["choices"][0]["text"]);
  Json streamed = body;
  streamed["stream"] = true;
  const auto [status, text] = PostText("/v1/chat/completions", streamed.dump());
  EXPECT_EQ(status, 200);
  EXPECT_TRUE(absl::StrContains(text, R"("delta":{"content":"","role":"assistant"})")) << text;
}

TEST_F(HttpServerTest, AnAnswerEndsWithItsTurn) {
  Start(/*max_length=*/0, {}, /*has_eos=*/false);
  const Json body = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}},
                     {"max_tokens", 40},
                     {"temperature", 0}};
  const auto choice = [&] { return Post("/v1/chat/completions", body)["choices"][0]; };
  EXPECT_EQ(choice()["finish_reason"], "length");
  const std::string text = choice()["message"]["content"];
  const auto letter = std::find_if(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 127 && c != '{' && c != '%' && c != '#';
  });
  ASSERT_NE(letter, text.end()) << text;
  TearDown();
  Start(/*max_length=*/0, {}, /*has_eos=*/false, std::string(1, *letter));
  EXPECT_EQ(choice()["finish_reason"], "stop");
  EXPECT_EQ(choice()["message"]["content"], text.substr(0, text.find(*letter)));
}

TEST_F(HttpServerTest, AnswersBadRequestsWithTheirFault) {
  Start(/*max_length=*/16);
  const std::string completions = "/v1/completions";
  const std::pair<const char*, const char*> cases[] = {
      {"[1]", "the body: expected an object"},
      {"{}", "prompt: expected a string or a list, got nothing"},
      {R"({"prompt": 1})", "prompt: expected a string, a list of token ids, or a list of such"},
      {R"({"prompt": [258]})", "prompt: token 258 is not in the model's vocabulary of 258"},
      {R"({"prompt": "a", "n": 2})", "n: only 1 is supported, got 2"},
      {R"({"prompt": "a", "max_token": 2})", "\"max_token\": no such key"},
      {R"({"prompt": "a", "max_tokens": -1})", "max_tokens: expected an integer from 0"},
      {R"({"prompt": "a", "temperature": "x"})", "temperature: expected a number"},
      {R"({"prompt": "a", "top_p": 2})", "top_p: "},
      {R"({"prompt": "a", "stop": 1})", "stop: expected a string or a list of strings"},
      {R"({"prompt": "a", "stream": true, "echo": true})", "stream: texts come without"},
      {R"({"prompt": "12345", "max_tokens": 12})", "the prompt has 5 tokens and max_tokens is 12"},
  };
  for (const auto& [body, message] : cases) {
    EXPECT_TRUE(absl::StartsWith(ErrorOf(completions, body), message))
        << body << ": " << ErrorOf(completions, body);
  }
  EXPECT_TRUE(absl::StartsWith(ErrorOf(completions, "{\"prompt\""), "the body: "));
  EXPECT_TRUE(absl::StrContains(ErrorOf("/v1/chat/completions", "{}"), "\"messages\""));
  EXPECT_EQ(ErrorOf("/v1/chat/completions",
                    R"({"messages": [{"role": "user", "content": "a"}], "logprobs": true})"),
            "logprobs: only false is supported, got true");
  const std::string large = "{\"prompt\": \"" + std::string(size_t{17} << 20, 'a') + "\"}";
  EXPECT_EQ(PostText(completions, large).first, 413);
  // None of them ended it.
  EXPECT_EQ(Complete({{"prompt", "a"}, {"max_tokens", 1}})["choices"].size(), 1u);
}

TEST_F(HttpServerTest, TokenizesForOtherPrograms) {
  Start();
  const Json info = Json::parse(client_->Get("/tokenizer_info")->body);
  for (const auto& [name, id] : {std::pair("bos_token", 256), std::pair("eos_token", 257)}) {
    EXPECT_EQ(Post("/tokenize", {{"prompt", info[name]}})["tokens"], Json({id}));
  }
  const Json ids = Post("/tokenize", {{"prompt", "ab"}, {"add_special_tokens", false}})["tokens"];
  EXPECT_EQ(ids, Json({97, 98}));
  EXPECT_EQ(Post("/detokenize", {{"tokens", ids}})["prompt"], "ab");
  EXPECT_TRUE(absl::StartsWith(ErrorOf("/detokenize", R"({"tokens": "a"})"), "tokens: expected"));
}

TEST_F(HttpServerTest, GivesUpWhatTakesTooLong) {
  ModelWorkerOptions options;
  options.time_limit = std::chrono::milliseconds(50);
  Start(0, options, /*has_eos=*/false);
  EXPECT_TRUE(
      absl::StartsWith(ErrorOf("/v1/completions", R"({"prompt": "a", "max_tokens": 1000000})", 504),
                       "the request took longer than 0.05 s"));
}

TEST_F(HttpServerTest, RefusesMoreThanMayWaitAndEndsWhatRuns) {
  ModelWorkerOptions options;
  options.max_waiting = 1;
  Start(0, options, /*has_eos=*/false);
  const Json long_text = {{"prompt", "a"}, {"max_tokens", 1000000}, {"temperature", 2}};
  const auto ask = [&](std::pair<int, std::string>* answer) {
    httplib::Client client("127.0.0.1", server_->port());
    client.set_read_timeout(20);
    const httplib::Result result =
        client.Post("/v1/completions", long_text.dump(), "application/json");
    *answer = result ? std::make_pair(result->status, result->body)
                     : std::make_pair(0, to_string(result.error()));
  };
  // One runs, one waits, and one is refused.
  std::vector<std::pair<int, std::string>> answers(3);
  std::vector<std::thread> clients;
  for (auto& answer : answers) {
    clients.emplace_back(ask, &answer);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  clients[2].join();
  EXPECT_EQ(answers[2].first, 503) << answers[2].second;
  EXPECT_TRUE(absl::StrContains(answers[2].second, "the server is busy, and 1 requests wait"));
  worker_->End();
  for (const size_t i : {0, 1}) {
    clients[i].join();
    EXPECT_EQ(answers[i].first, 503) << answers[i].second;
    EXPECT_TRUE(absl::StrContains(answers[i].second, "the server is ending"));
  }
}

TEST_F(HttpServerTest, TakesNoPortOfAnother) {
  Start();
  const auto second =
      HttpServer::Listen(served_.get(), worker_.get(), "127.0.0.1", server_->port());
  EXPECT_TRUE(absl::StrContains(second.status().message(), "cannot listen at 127.0.0.1:"))
      << second.status();
}

}  // namespace
}  // namespace wyvern
