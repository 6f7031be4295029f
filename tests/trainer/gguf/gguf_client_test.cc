// tests/clients/: llama.cpp's own library reads GGUF files, and llama.cpp runs them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "data/tokenizer/tokenizer_training.h"
#include "tests/support/client_python.h"
#include "tests/trainer/gguf/gguf_models.h"
#include "trainer/gguf/save_gguf.h"
#include "trainer/gguf/tokenizer.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {
namespace {

class GgufClientTest : public testing::Test {
 protected:
  // Returns what the script prints; empty, with a failure, if it ends with an error.
  std::string RunScript(const std::string& arguments) const {
    const std::string command = absl::StrCat(ClientPython(), " tests/clients/", arguments, " > ",
                                             folder_ / "out", " 2> ", folder_ / "err");
    if (std::system(command.c_str()) == 0) return *ReadFile(folder_ / "out");
    ADD_FAILURE() << *ReadFile(folder_ / "err") << *ReadFile(folder_ / "out");
    return "";
  }

  const TemporaryFolder folder_;
};

std::vector<std::string> NamesOf(const std::vector<std::pair<std::string, ModelConfig>>& models) {
  std::vector<std::string> names;
  for (const auto& [name, config] : models) names.push_back(name);
  return names;
}

class GgufTensorsTest : public GgufClientTest, public testing::WithParamInterface<std::string> {};

TEST_P(GgufTensorsTest, AreThoseOfTheHuggingFaceFolder) {
  if (const std::string why = Lacks("gguf, safetensors"); !why.empty()) GTEST_SKIP() << why;
  const ModelConfig config = GgufTestModelNamed(GetParam());
  const auto model = MakeGgufTestModel(config);
  ASSERT_TRUE(SaveHfFolder(model.get(), folder_ / "hf", {}).ok());
  std::string paths;
  for (const GgufDType dtype : {GgufDType::kF32, GgufDType::kF16, GgufDType::kBf16}) {
    const std::string path = absl::StrCat(folder_ / "model", static_cast<uint32_t>(dtype), ".gguf");
    const auto saved = SaveGguf(config, SourceOfModel(model.get()), path,
                                {.dtype = dtype, .tokenizer = NoGgufTokenizer()});
    ASSERT_TRUE(saved.ok()) << saved.status();
    absl::StrAppend(&paths, " ", path);
  }
  EXPECT_NE(RunScript(absl::StrCat("read_gguf.py ", folder_ / "hf", paths)), "");
}

INSTANTIATE_TEST_SUITE_P(All, GgufTensorsTest, testing::ValuesIn(NamesOf(GgufTestModels())),
                         [](const auto& info) { return info.param; });

// The cases for run_gguf.py, with what Wyvern's model says of the texts.
nlohmann::json CasesOf(Model* model, const Tokenizer& tokenizer,
                       const std::vector<std::string>& texts) {
  nlohmann::json cases = nlohmann::json::array();
  for (const std::string& text : texts) {
    std::vector<int32_t> ids = tokenizer.Encode(text);
    ids.insert(ids.begin(), *tokenizer.bos_id());
    const auto size = static_cast<int32_t>(ids.size());
    Tape tape(/*recording=*/false);
    const Var hidden = model->Hidden(tape, Tensor::FromVector(ids, {size}),
                                     Packing::FromDocuments({0, size}, Device::kCpu));
    const std::vector<float> logits =
        model->Logits(hidden.value().Rows(size - 1, size)).ToVector<float>();
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x));
    nlohmann::json logprobs = nlohmann::json::array();
    for (const float x : logits) logprobs.push_back(x - std::log(sum));
    cases.push_back({{"text", text}, {"ids", ids}, {"logprobs", logprobs}});
  }
  return cases;
}

// The largest error of llama.cpp's log-probabilities, of which those of these models differ by 1
// and more.
double ErrorOf(const std::string& output) {
  double error = NAN;
  EXPECT_TRUE(absl::SimpleAtod(absl::StripAsciiWhitespace(output), &error)) << output;
  return error;
}

class LlamaCppTest : public GgufClientTest,
                     public testing::WithParamInterface<std::pair<std::string, ModelConfig>> {
 protected:
  // The error of a file of the model.
  double ErrorAs(GgufDType dtype) const {
    const auto tokenizer = MakeByteTokenizer();
    const auto made = MakeGgufTokenizer(*tokenizer, {.vocab_size = 260, .add_bos = true});
    EXPECT_TRUE(made.ok()) << made.status();
    const ModelConfig& config = GetParam().second;
    const auto model = MakeGgufTestModel(config);
    const std::string cases = folder_ / "cases.json";
    const std::string path = absl::StrCat(folder_ / "model", static_cast<uint32_t>(dtype), ".gguf");
    const nlohmann::json expected =
        CasesOf(model.get(), *tokenizer, {"I", "In the beginning", " 3 é\n\n it's 你好 twice?"});
    EXPECT_TRUE(WriteFileAtomically(cases, JsonText(expected)).ok());
    const auto saved = SaveGguf(config, SourceOfModel(model.get()), path,
                                {.dtype = dtype, .tokenizer = made->metadata});
    EXPECT_TRUE(saved.ok()) << saved.status();
    return ErrorOf(RunScript(absl::StrCat("run_gguf.py ", path, " ", cases)));
  }
};

TEST_P(LlamaCppTest, ComputesTheSame) {
  if (const std::string why = Lacks("xllamacpp"); !why.empty()) GTEST_SKIP() << why;
  EXPECT_LT(ErrorAs(GgufDType::kF32), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(All, LlamaCppTest, testing::ValuesIn(GgufTestModels()),
                         [](const auto& info) { return info.param.first; });
INSTANTIATE_TEST_SUITE_P(OtherNorms, LlamaCppTest, testing::ValuesIn(GgufOnlyModels()),
                         [](const auto& info) { return info.param.first; });

class LlamaCppRoundingTest : public LlamaCppTest {};

// llama.cpp rounds activations to the type of the weights, too. With experts the error has no such
// limit: a token may go to others.
TEST_P(LlamaCppRoundingTest, TheErrorIsThatOfTheType) {
  if (const std::string why = Lacks("xllamacpp"); !why.empty()) GTEST_SKIP() << why;
  EXPECT_LT(ErrorAs(GgufDType::kF16), 5e-3);
  EXPECT_LT(ErrorAs(GgufDType::kBf16), 4e-2);
}

INSTANTIATE_TEST_SUITE_P(All, LlamaCppRoundingTest,
                         testing::Values(std::pair("llama", GgufTestModelNamed("llama")),
                                         std::pair("qwen35", GgufTestModelNamed("qwen35"))),
                         [](const auto& info) { return info.param.first; });

// Tokenizers, of which llama.cpp has to make the same ids.
class GgufTextTest : public GgufClientTest {
 protected:
  void SetUp() override {
    if (const std::string why = Lacks("xllamacpp"); !why.empty()) GTEST_SKIP() << why;
    std::string corpus;
    for (uint64_t i = 0; i < 600; ++i) {
      std::string word;  // of a few syllables, in some thousand ways
      for (uint64_t rest = i * i * 2654435761 % 50021; rest > 0; rest /= 7) {
        word += std::vector<std::string>{"ba", "le", "ti", "s", "mor", "é", "中文"}[rest % 7];
      }
      absl::StrAppend(&corpus, "the Rule's ", word, " states ", i * 7919, ",  WE'LL see\n");
    }
    ASSERT_TRUE(WriteFileAtomically(folder_ / "corpus.txt", corpus).ok());
    options_.sources = {{.paths = {folder_ / "corpus.txt"}}};
    options_.vocab_size = 500;
    options_.num_threads = 1;
    options_.byte_level.bos = "<s>";
    options_.byte_level.specials = {"<|im_end|>"};
  }

  void ExpectSameText(const Tokenizer& tokenizer, const std::string& marker) const {
    ModelConfig config = GgufTestModelNamed("llama");
    config.vocab_size = 512;
    const auto made = MakeGgufTokenizer(tokenizer, {.vocab_size = 512, .add_bos = true});
    ASSERT_TRUE(made.ok()) << made.status();
    const auto model = MakeGgufTestModel(config);
    const std::string cases = folder_ / "cases.json", path = folder_ / "model.gguf";
    const nlohmann::json expected = CasesOf(model.get(), tokenizer,
                                            {"the Rule's states 12345,\n\n  WE'LL see balemor",
                                             "\tété 中文中 state\n", "balti" + marker + "\n the"});
    ASSERT_TRUE(WriteFileAtomically(cases, JsonText(expected)).ok());
    std::filesystem::remove(path);
    ASSERT_TRUE(
        SaveGguf(config, SourceOfModel(model.get()), path, {.tokenizer = made->metadata}).ok());
    EXPECT_LT(ErrorOf(RunScript(absl::StrCat("run_gguf.py ", path, " ", cases))), 2e-5);
  }

  TokenizerTrainOptions options_;
};

class GgufPatternTest : public GgufTextTest, public testing::WithParamInterface<const char*> {};

TEST_P(GgufPatternTest, DividesTextAlike) {
  options_.is_byte_level = true;
  options_.byte_level.pattern = GetParam();
  options_.output = folder_ / "tokenizer.json";
  ASSERT_TRUE(TrainTokenizer(options_).ok());
  const auto tokenizer = LoadTokenizer(options_.output);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectSameText(**tokenizer, "<|im_end|>");
}

INSTANTIATE_TEST_SUITE_P(All, GgufPatternTest,
                         testing::Values("gpt2", "llama3", "qwen", "o200k", "kimi"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(GgufTextTest, SentencePiece) {
  options_.output = folder_ / "trained.model";
  ASSERT_TRUE(TrainTokenizer(options_).ok());
  const auto tokenizer = LoadTokenizer(options_.output);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectSameText(**tokenizer, "  ");
}

// The tokens of a tokenizer.json, in the order in which they were merged.
TEST_F(GgufTextTest, Tiktoken) {
  options_.is_byte_level = true;
  options_.byte_level.pattern = "llama3";
  options_.output = folder_ / "tokenizer.json";
  ASSERT_TRUE(TrainTokenizer(options_).ok());
  const auto trained = LoadTokenizer(options_.output);
  ASSERT_TRUE(trained.ok()) << trained.status();
  std::string ranks;
  int64_t rank = 0;
  for (int32_t id = 0; id < (*trained)->vocab_size(); ++id) {
    const std::string bytes = (*trained)->BytesOf(id);
    if ((*trained)->is_added(id) || bytes.empty()) continue;
    absl::StrAppend(&ranks, absl::Base64Escape(bytes), " ", rank++, "\n");
  }
  ASSERT_GT(rank, 400);
  ASSERT_TRUE(MakeFolders(folder_ / "ranks").ok());
  ASSERT_TRUE(WriteFileAtomically(folder_ / "ranks/tiktoken.model", ranks).ok());
  ASSERT_TRUE(WriteFileAtomically(folder_ / "ranks/tokenizer_config.json",
                                  R"({"added_tokens_decoder": {"505": {"content": "<s>"},
                                      "506": {"content": "<|im_end|>"}}})")
                  .ok());
  const auto tokenizer = LoadTokenizer(folder_ / "ranks/tiktoken.model",
                                       {.bos = "<s>", .eos = "<|im_end|>", .pattern = "llama3"});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectSameText(**tokenizer, "<|im_end|>");
}

}  // namespace
}  // namespace wyvern
