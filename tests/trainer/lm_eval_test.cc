// integrations/lm_eval and `wyvern score --serve`, asked by lm-eval.
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/client_python.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

constexpr char kLlama[] = R"(mixers: {attention: {type: attention, num_heads: 4}}
  pattern: [attention])";
constexpr char kMixture[] = R"(mixers:
    gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}
    kda: {type: kda, num_heads: 2, key_dim: 16, value_dim: 16}
    local: {type: attention, num_heads: 4, window: 8}
  pattern: [gdn, kda, local])";

class LmEvalTest : public RunTest {
 protected:
  // A small model that has learnt the words of its text; `mixers` are its keys mixers and pattern.
  void Train(const std::string& mixers) {
    WriteText("words.txt", SomeText(1, 200));
    WriteText("run.yaml", absl::StrCat(R"(run: {name: run, device: cpu, dir: )", Path("run"),
                                       R"(}
model:
  vocab_size: 280
  hidden_size: 32
  num_layers: 3
  intermediate_size: 48
  )",
                                       mixers, R"(
tokenizer: {type: bpe, byte_level: true, vocab_size: 280, path: )",
                                       Path("tokenizer/tokenizer.json"), R"(}
data:
  sources: [{dir: )",
                                       Path("store"), ", text: [", Path("words.txt"),
                                       R"(], document_separator: "\n\n"}]
  seq_len: 32
train: {steps: 60, batch_tokens: 256, micro_batch: 8}
schedule: {type: constant, peak: 1e-2, warmup_steps: 4}
)"));
    const ProcessResult trained = Wyvern({"train", Path("run.yaml")});
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
  }
  void ExpectAgreement(const std::string& more_arguments) {
    const std::string log = Path("lm_eval.log");
    const int code = std::system(absl::StrCat(ClientPython(), " tests/clients/lm_eval_tasks.py ",
                                              Binary(), " ", Path("run"), " ", Path("tasks"), " ",
                                              more_arguments, " >", log, " 2>&1")
                                     .c_str());
    EXPECT_EQ(code, 0) << Read(log);
    EXPECT_TRUE(absl::StrContains(Read(log), "OK: 111 documents, ")) << Read(log);
  }
};

TEST_F(LmEvalTest, TheAdapterAndTheServerAgree) {
  if (const std::string why = Lacks("lm_eval"); !why.empty()) GTEST_SKIP() << why;
  Train(kLlama);
  ExpectAgreement("");
}

TEST_F(LmEvalTest, TransformersAgreesOnTheExportedFolder) {
  if (!Lacks("lm_eval, transformers, torch").empty()) {
    GTEST_SKIP() << "transformers and PyTorch are not there; scripts/test --transformers brings "
                    "them";
  }
  Train(kLlama);
  ASSERT_EQ(Wyvern({"export", Path("run"), Path("hf")}).exit_code, 0);
  ExpectAgreement("--hf " + Path("hf"));
}

// A mixture that only the family wyvern holds, in batches that are padded on the right.
TEST_F(LmEvalTest, TransformersAgreesOnAFolderWithItsOwnCode) {
  if (!Lacks("lm_eval, transformers, torch").empty()) {
    GTEST_SKIP() << "transformers and PyTorch are not there; scripts/test --transformers brings "
                    "them";
  }
  Train(kMixture);
  ASSERT_EQ(Wyvern({"export", Path("run"), Path("hf"), "--family", "wyvern"}).exit_code, 0);
  ExpectAgreement("--hf " + Path("hf"));
}

}  // namespace
}  // namespace wyvern
