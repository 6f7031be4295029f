// `wyvern eval`, `score`, `generate` and `checkpoint` on a small model's checkpoint.

#include "trainer/commands/commands.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/io/json.h"
#include "data/sampling/sampler.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/gguf/gguf_models.h"
#include "tests/trainer/hf/hf_models.h"
#include "tests/trainer/saved_model.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/checkpoint/chat_record.h"
#include "trainer/checkpoint/model.h"
#include "trainer/commands/command.h"
#include "trainer/config/load.h"
#include "trainer/config/model_json.h"
#include "trainer/inference/eval.h"

namespace wyvern {
namespace {

class CheckpointCommandsTest : public CheckpointTest {
 protected:
  struct Result {
    int exit_code = 0;
    std::string out, err;
  };
  static Result Call(const std::vector<std::string>& arguments) {
    CLI::App app("test", "wyvern");
    Result result;
    AddAllCommands(app, &result.exit_code);
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    try {
      app.parse(reversed);
    } catch (const CLI::ParseError& error) {
      result.exit_code = 2;
    }
    result.out = testing::internal::GetCapturedStdout();
    result.err = testing::internal::GetCapturedStderr();
    return result;
  }

  void SetUp() override {
    tokenizer_ = MakeByteTokenizer();
    model_ = TinyModel(tokenizer_->vocab_size());
    const TrainingState state = {.model = model_.get(), .tokenizer = tokenizer_.get()};
    ASSERT_TRUE(SaveRun(Run(), 20, state, {{"counters", {{"tokens", 81920}}}}).ok());
    store_ = WriteStore("val.h5", CountingDocuments({40, 7, 90, 1}));
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Model> model_;
  std::string store_;
};

TEST_F(CheckpointCommandsTest, EvalPrintsTheLossOfTheStore) {
  const auto store = TokenStore::Open(store_);
  const SequentialSampler sampler(*store, 32, DocumentBoundary::kReset);
  Evaluator evaluator(model_.get());
  evaluator.Add(*sampler.Sample(0, sampler.num_samples()));
  const EvalResult expected = evaluator.Result();

  const Result result = Call({"eval", Run(), "--data", store_, "--seq-len", "32", "--batch", "2",
                              "--device", "cpu", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_NEAR(json["loss"].get<double>(), expected.loss, 1e-6);
  EXPECT_EQ(json["num_targets"], expected.num_targets);
  // Which samples does not depend on how many are run at once: 8 of them, of 35. Products of other
  // heights round otherwise.
  Evaluator some(model_.get());
  const SequentialSampler short_windows(*store, 4, DocumentBoundary::kReset);
  some.Add(*short_windows.Sample(0, 8));
  for (const char* at_once : {"1", "3", "8"}) {
    const Result few = Call({"eval", Run(), "--data", store_, "--seq-len", "4", "--batch", at_once,
                             "--batches", "1", "--device", "cpu", "--json"});
    ASSERT_EQ(few.exit_code, 0) << few.err;
    const auto values = nlohmann::json::parse(few.out);
    EXPECT_EQ(values["num_tokens"], 32);
    EXPECT_NEAR(values["loss"].get<double>(), some.Result().loss, 1e-5);
  }
  const Result table = Call(
      {"eval", Run(), "--data", store_, "--seq-len", "4", "--batches", "1", "--device", "cpu"});
  EXPECT_TRUE(absl::StrContains(table.out, "perplexity")) << table.out;
  EXPECT_TRUE(absl::StrContains(table.out, "tokens      32, of which")) << table.out;
}

TEST_F(CheckpointCommandsTest, EvalTakesTheWindowsOfTheRunThatTrained) {
  const std::string config = R"(
run: {name: test, device: cpu}
model:
  vocab_size: 258
  hidden_size: 32
  num_layers: 1
  mixers: {gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}}
  pattern: [gdn]
tokenizer: {type: byte}
data: {sources: [{dir: /tmp/store, text: [a.txt]}], seq_len: 24, document_boundary: none}
train: {steps: 10, batch_tokens: 48, micro_batch: 2}
schedule: {type: constant}
)";
  const TrainingState state = {.model = model_.get(), .tokenizer = tokenizer_.get()};
  ASSERT_TRUE(SaveRun(Run(), 30, state, {{"config", config}}).ok());
  const std::vector<std::string> command = {"eval", Run(), "--data", store_, "--device", "cpu"};
  const Result trained = Call(command);
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_TRUE(absl::StrContains(trained.out, "24 tokens, document boundary none")) << trained.out;
  std::vector<std::string> chosen = command;
  chosen.insert(chosen.end(), {"--seq-len", "16", "--document-boundary", "reset"});
  EXPECT_TRUE(absl::StrContains(Call(chosen).out, "16 tokens, document boundary reset"));
  const auto exported = Model::Create(HfTestModelNamed("gated_plain"), Device::kCpu,
                                      DType::kFloat32, /*trainable=*/false);
  exported->Initialize(1);
  ASSERT_TRUE(SaveRun(Path("gated"), 3, {.model = exported.get()}, {{"config", config}}).ok());
  // Readers' tables of positions are as long.
  const auto positions = [this](const std::vector<std::string>& more) {
    const std::string folder = Path(absl::StrCat("exported_", more.size()));
    std::vector<std::string> command = {"export", Path("gated") + "@3", folder};
    command.insert(command.end(), more.begin(), more.end());
    EXPECT_EQ(Call(command).exit_code, 0);
    return (*ReadJsonFile(folder + "/config.json"))["max_position_embeddings"];
  };
  EXPECT_EQ(positions({}), 24);
  EXPECT_EQ(positions({"--max-positions", "99"}), 99);
  WriteText("run.yaml", config);
  const Result show = Call({"config", "show", Path("run.yaml")});
  ASSERT_EQ(show.exit_code, 0) << show.err;
  EXPECT_TRUE(absl::StrContains(show.out,
                                "not as qwen3_next: needs norms that scale by 1 + "
                                "weight (zero_centered_norms: true)"))
      << show.out;
  EXPECT_TRUE(
      absl::StrContains(show.out, "\n# exports as        gated_deltanet (default), wyvern\n"))
      << show.out;
  EXPECT_TRUE(absl::StrContains(show.out, "\n#   not as llama: ")) << show.out;
  EXPECT_TRUE(absl::StrContains(show.out, "\n# as GGUF           no; llama.cpp's qwen35 cannot "))
      << show.out;
}

TEST_F(CheckpointCommandsTest, AConfigurationNamesTheFamiliesThatItsModelIsExportedAs) {
  const auto exports_of = [this](const std::string& layers) {
    WriteText("run.yaml", absl::StrCat(R"(
run: {name: test, device: cpu}
model:
  hidden_size: 32
)",
                                       layers, R"(
tokenizer: {type: byte}
data: {sources: [{dir: /tmp/store, text: [a.txt]}], seq_len: 8}
train: {steps: 10, batch_tokens: 16}
)"));
    const Result show = Call({"config", "show", Path("run.yaml")});
    EXPECT_EQ(show.exit_code, 0) << show.err;
    for (const absl::string_view line : absl::StrSplit(show.out, '\n')) {
      if (absl::StartsWith(line, "# exports as ")) return std::string(line);
    }
    return show.out;
  };
  EXPECT_EQ(exports_of("  num_layers: 1\n"
                       "  mixers: {all: {type: attention, num_heads: 2}}\n"
                       "  pattern: [all]"),
            "# exports as        llama (default), transformer, mistral, wyvern");
  EXPECT_EQ(exports_of("  num_layers: 2\n"
                       "  mixers: {gla: {type: gla, num_heads: 2, key_dim: 16, value_dim: 16},\n"
                       "           gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16,\n"
                       "                 value_dim: 16}}\n"
                       "  pattern: [gdn, gla]"),
            "# exports as        wyvern (with --family)");
}

TEST_F(CheckpointCommandsTest, ExportsGgufFilesWhereLlamaCppHasTheArchitecture) {
  const auto llama = Model::Create(GgufTestModelNamed("llama"), Device::kCpu, DType::kFloat32,
                                   /*trainable=*/false);
  llama->Initialize(1);
  ASSERT_TRUE(SaveRun(Path("llama"), 3, {.model = llama.get()}).ok());
  const auto gguf = [this](const std::string& run, const std::vector<std::string>& more) {
    std::vector<std::string> command = {"export", Path(run), Path("model.gguf"), "--format",
                                        "gguf"};
    command.insert(command.end(), more.begin(), more.end());
    return Call(command);
  };
  for (const Result& refused :
       {gguf("llama", {"--family", "llama"}), gguf("llama", {"--max-shard-gb", "1"}),
        Call({"export", Path("llama"), Path("hf"), "--dtype", "fp16"})}) {
    EXPECT_EQ(refused.exit_code, kWrongUsage) << refused.err;
    EXPECT_TRUE(absl::StrContains(refused.err, " is not for --format ")) << refused.err;
  }
  const Result folder = Call({"export", Path("llama"), Path("model.gguf")});
  EXPECT_EQ(folder.exit_code, kWrongUsage) << folder.err;
  EXPECT_TRUE(absl::StrContains(folder.err,
                                "model.gguf: a folder would be written; for a file of llama.cpp "
                                "add --format gguf"))
      << folder.err;
  EXPECT_FALSE(std::filesystem::exists(Path("model.gguf")));
  const Result done = gguf("llama", {"--dtype", "fp16"});
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_TRUE(absl::StrContains(done.out, "holds no tokenizer; the file has none either"))
      << done.out;
  const Result again = gguf("llama", {});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(again.err, "model.gguf: exists; choose another name"));
  // The model of the fixture.
  ASSERT_TRUE(SaveRun(Path("other"), 3, {.model = model_.get()}).ok());
  const Result refused = gguf("other", {});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(
      refused.err,
      "llama.cpp's kimi-linear cannot hold this model: needs kda as delta-rule layers"))
      << refused.err;
}

TEST_F(CheckpointCommandsTest, TheModelIsPrintedAsARunsFileHasIt) {
  const std::string rest =
      "run: {name: test, device: cpu}\ntokenizer: {type: byte}\n"
      "data: {sources: [{dir: /tmp/store, text: [a.txt]}], seq_len: 8}\n"
      "train: {steps: 10, batch_tokens: 16}\n";
  const Result from = Call({"config", "from", Run() + "@20"});
  ASSERT_EQ(from.exit_code, 0) << from.err;
  const auto read = ParseRunConfig(from.out + rest, "printed");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ModelConfigToJson(read->model), ModelConfigToJson(model_->config()));
  const std::string section = from.out.substr(from.out.find("model:"));
  const Result info = Call({"checkpoint", "info", Run()});
  EXPECT_TRUE(absl::StrContains(info.out, section)) << info.out;
  EXPECT_TRUE(absl::StrContains(Call({"config", "from", Run() + "@21"}).err, "has steps 20"));
}

TEST_F(CheckpointCommandsTest, AStepOfARunNamesACheckpoint) {
  const std::string at = Run() + "@20";
  EXPECT_EQ(Call({"eval", at, "--data", store_, "--seq-len", "8", "--device", "cpu"}).exit_code, 0);
  EXPECT_EQ(
      Call({"generate", at, "--prompt", "a", "--max-tokens", "2", "--device", "cpu"}).exit_code, 0);
  // This model is none of a Hugging Face family.
  EXPECT_TRUE(absl::StrContains(Call({"export", at, Path("exported")}).err, "cannot hold"));
  EXPECT_EQ(Call({"checkpoint", "verify", at}).exit_code, 0);
  const Result wrong = Call({"generate", Run() + "@7", "--prompt", "a", "--device", "cpu"});
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(wrong.err, "has steps 20")) << wrong.err;
}

TEST_F(CheckpointCommandsTest, GenerateContinuesThePromptAndRepeatsWithTheSeed) {
  const auto call = [&](const std::string& seed) {
    return Call({"generate", Run(), "--prompt", "Wy", "--max-tokens", "20", "--seed", seed,
                 "--device", "cpu"});
  };
  const Result first = call("3");
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out.substr(0, 2), "Wy");
  EXPECT_EQ(first.out, call("3").out);
  EXPECT_NE(first.out, call("4").out);
  // Greedy by either word, whatever the seed.
  std::vector<std::string> greedy = {"generate", Run(),      "--prompt", "Wy",      "--max-tokens",
                                     "20",       "--device", "cpu",      "--greedy"};
  const Result most_likely = Call(greedy);
  ASSERT_EQ(most_likely.exit_code, 0) << most_likely.err;
  greedy.pop_back();
  greedy.insert(greedy.end(), {"--temperature", "0", "--seed", "9"});
  EXPECT_EQ(Call(greedy).out, most_likely.out);
  const Result cold = Call({"generate", Run(), "--prompt", "x", "--temperature=-0.5"});
  EXPECT_EQ(cold.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(cold.err, "temperature: expected 0 (greedy) or more")) << cold.err;
  const Result bad = Call({"generate", Run(), "--prompt", "x", "--top-p", "1.5"});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(bad.err, "top_p")) << bad.err;
}

TEST_F(CheckpointCommandsTest, AverageWritesACheckpointThatCanBeEvaluated) {
  const std::string name = absl::StrCat(Run(), "@20"), out = Path("average");
  const Result result = Call({"checkpoint", "average", out, name, Run(), "--decay", "0.25"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(absl::StrContains(result.out, "0.2000  ")) << result.out;
  EXPECT_TRUE(absl::StrContains(result.out, "0.8000  ")) << result.out;
  const std::vector<std::string> eval = {"--data", store_,     "--seq-len", "32",    "--batch",
                                         "2",      "--device", "cpu",       "--json"};
  const auto loss_of = [&](const std::string& checkpoint) {
    std::vector<std::string> command = {"eval", checkpoint};
    command.insert(command.end(), eval.begin(), eval.end());
    return Call(command).out;
  };
  EXPECT_EQ(loss_of(out), loss_of(Run()));
  EXPECT_EQ(Call({"checkpoint", "average", out, name}).exit_code, 2);
  EXPECT_EQ(Call({"checkpoint", "average", out, name, name, "--decay", "0"}).exit_code, 2);
  const Result other = Call({"checkpoint", "average", store_, name, name});
  EXPECT_EQ(other.exit_code, 1);
}

TEST_F(CheckpointCommandsTest, ScoreAnswersEachLine) {
  const std::string requests = WriteText("requests.jsonl", R"({"text": "Wyvern", "id": 1}
{"context": "Wy", "continuation": "vern"}
{"prompt": "Wy", "max_tokens": 2}
)");
  const Result printed = Call({"score", Run(), requests, "--device", "cpu"});
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  const std::vector<std::string> lines = absl::StrSplit(printed.out, '\n');
  ASSERT_EQ(lines.size(), 4u) << printed.out;
  EXPECT_EQ(nlohmann::json::parse(lines[0])["id"], 1);
  EXPECT_TRUE(nlohmann::json::parse(lines[1]).contains("is_greedy"));
  EXPECT_TRUE(nlohmann::json::parse(lines[2]).contains("text"));
  EXPECT_TRUE(absl::StrContains(printed.err, "3 requests, ")) << printed.err;
  const Result written =
      Call({"score", Run(), requests, "--output", Path("answers.jsonl"), "--device", "cpu"});
  ASSERT_EQ(written.exit_code, 0) << written.err;
  EXPECT_EQ(written.out, "");
  EXPECT_EQ(*ReadFile(Path("answers.jsonl")), printed.out);
}

TEST_F(CheckpointCommandsTest, ScoreWritesNothingWhereALineIsWrong) {
  const std::string requests = WriteText("requests.jsonl", "{\"text\": \"a\"}\n{\"text\": 1}\n");
  const Result result =
      Call({"score", Run(), requests, "--output", Path("answers.jsonl"), "--device", "cpu"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(result.err, "requests.jsonl:2: text: expected a string"))
      << result.err;
  EXPECT_FALSE(std::filesystem::exists(Path("answers.jsonl")));
}

TEST_F(CheckpointCommandsTest, AChatIsThePromptOfItsTemplateUpToTheEndOfATurn) {
  const auto call = [&](std::vector<std::string> command) {
    command.insert(command.end(), {"--greedy", "--max-tokens", "12", "--device", "cpu"});
    command.insert(command.begin(), {"generate", Run()});
    return Call(command);
  };
  const Result none = call({"--chat", "--prompt", "a"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(none.err, "has no chat template: its run trained on no"))
      << none.err;

  const TrainingState state = {.model = model_.get(), .tokenizer = tokenizer_.get()};
  const ChatOptions chat{
      .source = "{% for m in messages %}<{{ m.content }}>{% endfor %}{{ mark_token }}",
      .origin = "",
      .special_tokens = {{"mark_token", "!"}}};
  // A prompt of text begins with bos, too, as the run's documents did.
  ASSERT_TRUE(SaveRun(Run(), 30, state, {{"chat", ChatRecord(chat)}, {"add_bos", true}}).ok());
  const std::string whole = call({"--prompt", "<a>!"}).out.substr(4);
  EXPECT_EQ(call({"--chat", "--prompt", "a"}).out, whole);
  const std::string messages = WriteText("m.json", R"([{"role": "user", "content": "a"}])");
  EXPECT_EQ(call({"--messages", messages}).out, whole);
  ASSERT_TRUE(SaveRun(Run(), 40, state, {{"chat", ChatRecord(chat)}}).ok());
  EXPECT_NE(call({"--prompt", "<a>!"}).out.substr(4), whole);
}

TEST_F(CheckpointCommandsTest, InfoAndVerify) {
  const Result info = Call({"checkpoint", "info", Run(), "--tensors"});
  EXPECT_EQ(info.exit_code, 0) << info.err;
  for (const char* part : {"step        20", "81920", "hidden_size: 32", "model/"}) {
    EXPECT_TRUE(absl::StrContains(info.out, part)) << part << " is not in\n" << info.out;
  }
  EXPECT_EQ(Call({"checkpoint", "verify", Step(20)}).exit_code, 0);

  const std::string shard = Step(20) + "/rank-00000-00000.h5";
  const Tensor& weight = model_->parameters()[0]->value;
  const std::string bytes(static_cast<const char*>(weight.raw()), 64);
  FlipByte(shard, ReadFile(shard)->find(bytes));
  const Result damaged = Call({"checkpoint", "verify", Run()});
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(damaged.err, "'model/embedding.weight'")) << damaged.err;
  EXPECT_EQ(Call({"generate", Run(), "--prompt", "x"}).exit_code, 1);
  EXPECT_EQ(Call({"checkpoint", "info", Path("none")}).exit_code, 1);
}

TEST_F(CheckpointCommandsTest, AStoreOfAnotherVocabularyIsRefused) {
  const auto small = TinyModel(100);
  ASSERT_TRUE(SaveRun(Path("small"), 1, {.model = small.get()}).ok());
  const Result result = Call({"eval", Path("small"), "--data", store_, "--device", "cpu"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(result.err, "258 tokens, the model's vocabulary only 100"))
      << result.err;
}

}  // namespace
}  // namespace wyvern
