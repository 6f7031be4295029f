#include "trainer/requests/request.h"

#include <gtest/gtest.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "tests/trainer/tiny_model.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

class RequestTest : public testing::Test {
 protected:
  absl::StatusOr<std::vector<Request>> Parse(const std::string& lines,
                                             EncoderOptions options = {}) const {
    return ParseRequests(lines, "r.jsonl",
                         RequestEncoder(tokenizer_.get(), tokenizer_->vocab_size(), options));
  }
  std::string ErrorOf(const std::string& line) const {
    return std::string(Parse("\n" + line).status().message());
  }
  std::vector<Json> AnswersTo(const std::string& lines, EncoderOptions options = {},
                              int64_t tokens_at_once = 4096) {
    const auto requests = Parse(lines, options);
    EXPECT_TRUE(requests.ok()) << requests.status();
    Scorer scorer(model_.get(), {.tokens_at_once = tokens_at_once});
    const auto answers = Answer(&scorer, tokenizer_.get(), *requests);
    EXPECT_TRUE(answers.ok()) << answers.status();
    return *answers;
  }

  std::unique_ptr<Tokenizer> tokenizer_ = MakeByteTokenizer();
  std::unique_ptr<Model> model_ = TinyModel(tokenizer_->vocab_size());
};

TEST_F(RequestTest, AnErrorNamesTheLineAndTheKey) {
  EXPECT_TRUE(absl::StartsWith(ErrorOf("{\"text\""), "r.jsonl:2")) << ErrorOf("{\"text\"");
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "expected an object, got []"},
      {"{}", "expected the keys context and continuation, or text, or prompt"},
      {R"({"context": "a"})",
       "continuation: expected a string or a list of token ids, got nothing"},
      {R"({"context": 1, "continuation": "b"})",
       "context: expected a string or a list of token ids, got 1"},
      {R"({"context": [1], "continuation": "b"})",
       "context, continuation: expected two strings or two lists of token ids"},
      {R"({"context": [1], "continuation": [-1]})",
       "continuation: expected a string or a list of token ids, got [-1]"},
      {R"({"context": [1], "continuation": [258]})",
       "context, continuation: token 258 is not in the model's vocabulary of 258"},
      {R"({"context": "a", "continuation": ""})",
       "context, continuation: the continuation has no token of its own"},
      {R"({"text": "a", "Id": 1})", "\"Id\": no such key; a request like this has id, text"},
      {R"({"text": [0.5]})", "text: expected a string or a list of token ids, got [0.5]"},
      {R"({"prompt": "a", "until": [""]})",
       "until: expected a string or a list of strings, none of them empty, got [\"\"]"},
      {R"({"prompt": "a", "max_tokens": 0})",
       "max_tokens: expected an integer from 1 to 2147483647, got 0"},
      {R"({"prompt": "a", "temperature": "hot"})", "temperature: expected a number, got \"hot\""},
  };
  for (const auto& [line, error] : cases) {
    EXPECT_EQ(ErrorOf(line), absl::StrCat("r.jsonl:2: ", error)) << line;
  }
  for (const char* line : {R"({"prompt": "a", "temperature": -1})",
                           R"({"prompt": "a", "top_p": 0})", R"({"prompt": "a", "seed": 1.5})"}) {
    EXPECT_TRUE(absl::StartsWith(ErrorOf(line), "r.jsonl:2: ")) << ErrorOf(line);
  }
}

TEST_F(RequestTest, AnswersComeInTheirOrderWithTheirIds) {
  const auto answers = AnswersTo(R"({"context": "ab", "continuation": "cd", "id": "x"}
{"text": "abcd"}

{"prompt": "Wy", "max_tokens": 3, "id": [7]}
{"context": [97, 98], "continuation": [99, 100], "id": null}
{"text": [97, 98, 99, 100]}
)");
  ASSERT_EQ(answers.size(), 5u);
  EXPECT_EQ(answers[0]["id"], "x");
  EXPECT_EQ(answers[0]["num_tokens"], 2);
  EXPECT_TRUE(answers[0]["is_greedy"].is_boolean());
  EXPECT_EQ(answers[1]["num_tokens"], 4);
  EXPECT_EQ(answers[1]["num_bytes"], 4);
  EXPECT_EQ(answers[2]["id"], Json::array({7}));
  EXPECT_TRUE(answers[2]["text"].is_string());
  EXPECT_LE(answers[2]["num_tokens"], 3);
  EXPECT_EQ(answers[2]["stopped_by"], answers[2]["num_tokens"] == 3 ? "max_tokens" : "eos");
  EXPECT_FALSE(answers[3].contains("id"));
  EXPECT_EQ(answers[3]["log_likelihood"], answers[0]["log_likelihood"]);
  EXPECT_EQ(answers[4], answers[1]);
}

TEST_F(RequestTest, TheLikelihoodOfATextIsThatOfItsParts) {
  const auto answers = AnswersTo(R"({"text": "the delta rule"}
{"context": "", "continuation": "the delta"}
{"context": [256, 116, 104, 101, 32, 100, 101, 108, 116, 97], "continuation": [32, 114, 117, 108, 101]}
)");
  const double whole = answers[0]["log_likelihood"].get<double>();
  EXPECT_NEAR(
      whole,
      answers[1]["log_likelihood"].get<double>() + answers[2]["log_likelihood"].get<double>(),
      1e-4);
  EXPECT_LT(whole, -10);
  // Read in pieces, it is the same; in windows, the model knows less.
  EXPECT_NEAR(AnswersTo(R"({"text": "the delta rule"})", {}, 3)[0]["log_likelihood"].get<double>(),
              whole, 1e-4);
  const auto windows = AnswersTo(R"({"text": "the delta rule"})", {.max_length = 4});
  EXPECT_GT(std::abs(windows[0]["log_likelihood"].get<double>() - whole), 1e-3);
  EXPECT_EQ(windows[0]["num_tokens"], 14);
}

TEST_F(RequestTest, WhatTheModelWritesIsGreedy) {
  // A prompt behind which the model writes a letter.
  std::string prompt, text;
  for (char letter = 'a'; letter <= 'z' && text.empty(); ++letter) {
    prompt = std::string(2, letter);
    const Json line = {{"prompt", prompt}, {"max_tokens", 1}};
    const std::string written = AnswersTo(line.dump())[0]["text"];
    if (written.size() == 1 && absl::ascii_isprint(static_cast<unsigned char>(written[0]))) {
      text = written;
    }
  }
  ASSERT_FALSE(text.empty());
  const Json pair = {{"context", prompt}, {"continuation", text}};
  const Json other = {{"context", prompt}, {"continuation", text == "x" ? "y" : "x"}};
  const auto answers = AnswersTo(pair.dump() + "\n" + other.dump());
  EXPECT_EQ(answers[0]["is_greedy"], true);
  EXPECT_EQ(answers[1]["is_greedy"], false);
  EXPECT_GT(answers[0]["log_likelihood"], answers[1]["log_likelihood"]);
  // The same text ends before a stop, which may be all of it.
  const Json until = {{"prompt", prompt}, {"max_tokens", 5}, {"until", text}};
  const auto stopped = AnswersTo(until.dump());
  EXPECT_EQ(stopped[0]["text"], "");
  EXPECT_EQ(stopped[0]["stopped_by"], "until");
  EXPECT_EQ(stopped[0]["num_tokens"], 1);
}

TEST_F(RequestTest, ATemperatureDrawsByItsSeed) {
  const std::string line = R"({"prompt": "ab", "max_tokens": 20, "temperature": 3, "seed": )";
  const auto answers = AnswersTo(line + "1}\n" + line + "1}\n" + line + "2}\n");
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_NE(answers[0]["text"], answers[2]["text"]);
}

}  // namespace
}  // namespace wyvern
