// A run on conversations: its checkpoints keep the chat template, by which it is asked and
// exported.
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

constexpr char kTemplate[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

class ChatRunTest : public RunTest {
 protected:
  // A model that says "fine" to everything.
  void SetUp() override {
    RunTest::SetUp();
    const ProcessResult made = Wyvern(
        {"data", "tokenizer", "--input", Path("a.txt"), "--byte-level", "--vocab-size", "280",
         "--special-token", "<|im_start|>", "<|im_end|>", "--output", Path("tokenizer.json")});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    std::string chats;
    for (const char* question : {"how are you", "and your dog", "the rain", "delta rule", "hi"}) {
      for (int i = 0; i < 8; ++i) {
        absl::StrAppend(&chats, R"({"messages": [{"role": "user", "content": ")", question, " ", i,
                        R"("}, {"role": "assistant", "content": "fine"}]})", "\n");
      }
    }
    const std::string source = absl::StrCat(
        "data={sources: [{dir: ", Path("chats"), ", text: [", WriteText("chats.jsonl", chats),
        "], format: chat, add_bos: false, chat_template: ", WriteText("chat.jinja", kTemplate),
        ", packing: whole}], seq_len: 64}");
    trained_ =
        Train({source, absl::StrCat("tokenizer={type: file, path: ", Path("tokenizer.json"), "}"),
               "model.vocab_size=280", "model.num_layers=1", "model.pattern=[gdn]",
               "model.mixers={gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, "
               "value_dim: 16}}",
               "train.steps=40", "schedule.peak=2e-2", "validation.every=0"});
    ASSERT_EQ(trained_.exit_code, 0) << trained_.err;
  }

  ProcessResult trained_;
};

TEST_F(ChatRunTest, ItAnswersByTheTemplateOfItsCheckpoint) {
  EXPECT_TRUE(absl::StrContains(trained_.out, "note: a turn ends with <|im_end|> (token 2)"))
      << trained_.out;
  std::filesystem::remove(Path("chat.jinja"));
  const std::vector<std::string> greedy = {"--greedy", "--max-tokens", "20", "--device", "cpu"};
  const auto answer = [&](std::vector<std::string> command) {
    command.insert(command.end(), greedy.begin(), greedy.end());
    const ProcessResult result = Wyvern(command);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  EXPECT_EQ(answer({"generate", Path("run"), "--chat", "--prompt", "how are you 3"}), "fine\n");
  const std::string messages = WriteText(
      "m.json", R"([{"role": "user", "content": "hi 1"}, {"role": "assistant", "content": "fine"},
                    {"role": "user", "content": "the rain 2"}])");
  EXPECT_EQ(answer({"generate", Path("run") + "@40", "--messages", messages}), "fine\n");
  // The same prompt as text, whose end is a token like others.
  const std::string prompt = "<|im_start|>user\nhi 1<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_TRUE(absl::StartsWith(answer({"generate", Path("run"), "--prompt", prompt}),
                               prompt + "fine<|im_end|>"));
  const ProcessResult neither = Wyvern({"generate", Path("run")});
  EXPECT_EQ(neither.exit_code, 2);
  EXPECT_TRUE(absl::StrContains(neither.err, "--prompt or --messages")) << neither.err;
}

TEST_F(ChatRunTest, ItsExportHasTheTemplateAndTheEndOfATurn) {
  const ProcessResult exported = Wyvern({"export", Path("run"), Path("hf")});
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  EXPECT_EQ(Read(Path("hf/chat_template.jinja")), kTemplate);
  const auto generation = ReadJsonFile(Path("hf/generation_config.json"));
  ASSERT_TRUE(generation.ok()) << generation.status();
  EXPECT_EQ((*generation)["eos_token_id"], nlohmann::json({2, 0}));
  EXPECT_EQ((*ReadJsonFile(Path("hf/config.json")))["max_position_embeddings"], 64);
  // The template comes back with the tokenizer's files.
  const ProcessResult imported = Wyvern({"import", Path("hf"), Path("back")});
  ASSERT_EQ(imported.exit_code, 0) << imported.err;
  EXPECT_EQ(Wyvern({"generate", Path("back"), "--chat", "--prompt", "hi 2", "--greedy",
                    "--max-tokens", "20", "--device", "cpu"})
                .out,
            "fine\n");
}

}  // namespace
}  // namespace wyvern
