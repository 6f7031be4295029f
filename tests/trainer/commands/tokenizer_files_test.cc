// A tokenizer's files on their way: into the stores and checkpoints of a run, out to a Hugging Face
// folder, and back.
#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

class TokenizerFilesTest : public RunTest {};

TEST_F(TokenizerFilesTest, ExportAndImportKeepThemAsTheyWere) {
  std::filesystem::create_directory(Path("tokens"));
  WriteText("tokens/chat_template.jinja", "{{ messages }}\n");
  WriteText("tokens/generation_config.json", "{\"temperature\": 0.7}");
  const ProcessResult trained = Train(
      {"train.steps=1", "schedule.warmup_steps=0", "model.vocab_size=272",
       "model.mixers={gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}}",
       "model.pattern=[gdn]",
       absl::StrCat(
           "tokenizer={type: bpe, byte_level: true, vocab_size: 270, pattern: qwen, path: ",
           Path("tokens/tokenizer.json"), ", special_tokens: ['<|im_end|>']}")});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  ASSERT_EQ(Wyvern({"export", Path("run"), Path("hf")}).exit_code, 0);
  const ProcessResult imported = Wyvern({"import", Path("hf"), Path("imported")});
  ASSERT_EQ(imported.exit_code, 0) << imported.err;
  ASSERT_EQ(Wyvern({"export", Path("imported"), Path("again")}).exit_code, 0);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                           "generation_config.json"}) {
    const std::string made = Read(absl::StrCat(Path("tokens/"), name));
    EXPECT_FALSE(made.empty()) << name;
    EXPECT_EQ(Read(absl::StrCat(Path("hf/"), name)), made) << name;
    EXPECT_EQ(Read(absl::StrCat(Path("again/"), name)), made) << name;
  }
  EXPECT_NE(Read(Path("again/config.json")).find("\"eos_token_id\": 0"), std::string::npos)
      << Read(Path("again/config.json"));
}

TEST_F(TokenizerFilesTest, ATemplateOfTheTokenizerEndsATurnInExports) {
  std::filesystem::create_directory(Path("tokens"));
  WriteText("tokens/chat_template.jinja",
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  const ProcessResult trained = Train(
      {"train.steps=1", "schedule.warmup_steps=0", "model.vocab_size=272", "validation.every=0",
       "model.mixers={gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}}",
       "model.pattern=[gdn]",
       absl::StrCat(
           "tokenizer={type: bpe, byte_level: true, vocab_size: 270, pattern: qwen, path: ",
           Path("tokens/tokenizer.json"), ", special_tokens: ['<|im_start|>', '<|im_end|>']}")});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  for (const char* family : {"auto", "wyvern"}) {
    const std::string folder = absl::StrCat(Path("hf_"), family);
    ASSERT_EQ(Wyvern({"export", Path("run"), folder, "--family", family}).exit_code, 0);
    const auto generation = ReadJsonFile(folder + "/generation_config.json");
    ASSERT_TRUE(generation.ok()) << generation.status();
    EXPECT_EQ((*generation)["eos_token_id"], nlohmann::json({2, 0})) << family;
  }
}

TEST_F(TokenizerFilesTest, ATemplateBesideASentencePieceModelIsKept) {
  const ProcessResult trained = Train(
      {"train.steps=1", "schedule.warmup_steps=0", "model.vocab_size=300", "validation.every=0",
       "model.mixers={gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}}",
       "model.pattern=[gdn]",
       absl::StrCat("tokenizer={type: bpe, vocab_size: 300, path: ", Path("sp.model"), "}")});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  ASSERT_EQ(Wyvern({"export", Path("run"), Path("hf")}).exit_code, 0);
  const auto config = ReadJsonFile(Path("hf/tokenizer_config.json"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ((*config)["bos_token"], "<s>");
  EXPECT_EQ((*config)["eos_token"], "</s>");
  EXPECT_EQ((*config)["unk_token"], "<unk>");
  WriteText("hf/chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
  const ProcessResult imported = Wyvern({"import", Path("hf"), Path("imported")});
  ASSERT_EQ(imported.exit_code, 0) << imported.err;
  ASSERT_EQ(Wyvern({"export", Path("imported"), Path("again")}).exit_code, 0);
  for (const char* name : {"tokenizer.model", "tokenizer_config.json", "chat_template.jinja"}) {
    EXPECT_EQ(Read(absl::StrCat(Path("again/"), name)), Read(absl::StrCat(Path("hf/"), name)));
  }
}

}  // namespace
}  // namespace wyvern
