// Configurations that ask for more than anything has, and overrides that meet keys of the file.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "trainer/config/load.h"
#include "trainer/config/stages.h"

namespace wyvern {
namespace {

constexpr char kBase[] = R"(run: {name: test, device: cpu}
model:
  vocab_size: 300
  hidden_size: 32
  num_layers: 2
  mixers:
    gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}
    full: {type: attention, num_heads: 2}
  pattern: [gdn, full]
tokenizer: {type: byte}
data:
  sources: [{dir: /tmp/store, text: [a.txt]}]
  seq_len: 16
train:
  steps: 100
  batch_tokens: 64
  micro_batch: 2
schedule: {type: cosine, peak: 1e-3, warmup_steps: 5, initial: 1e-5, final: 1e-4}
validation: {every: 10, batches: 4}
)";

using Sets = std::vector<std::string>;

std::string ErrorOf(const std::string& yaml, const Sets& sets = {}) {
  const auto config = ParseRunConfig(yaml, "c.yaml", sets);
  return config.ok() ? "" : std::string(config.status().message());
}

void ExpectError(const std::string& yaml, const Sets& sets, const std::string& part) {
  const std::string error = ErrorOf(yaml, sets);
  EXPECT_TRUE(absl::StrContains(error, part)) << "'" << part << "' is not in: " << error;
}

// Each level stands for ten of the one before.
std::string Laughs(int levels) {
  std::string yaml = "a0: &a0 x\n";
  for (int i = 1; i <= levels; ++i) {
    absl::StrAppend(&yaml, "a", i, ": &a", i, " [");
    for (int j = 0; j < 10; ++j) absl::StrAppend(&yaml, "*a", i - 1, ", ");
    absl::StrAppend(&yaml, "x]\n");
  }
  return yaml;
}

TEST(ConfigBounds, AliasesCountAsWhatTheyStandFor) {
  EXPECT_TRUE(ParseConfigText(Laughs(4), "c.yaml").ok());
  for (const int levels : {7, 8, 60}) {
    const absl::Status status = ParseConfigText(Laughs(levels), "c.yaml").status();
    EXPECT_TRUE(absl::StrContains(status.message(), "more than 250000 values")) << status;
    EXPECT_TRUE(absl::StartsWith(status.message(), "c.yaml:")) << status;
  }
  // Few values of much text.
  const std::string text =
      absl::StrCat("a: &a ", std::string(1 << 20, 'x'), "\nb: [",
                   absl::StrReplaceAll(std::string(100, 'y'), {{"y", "*a, "}}), "z]\n");
  EXPECT_TRUE(absl::StrContains(ParseConfigText(text, "c.yaml").status().message(),
                                "more than 64 MiB of text"));
  EXPECT_TRUE(absl::StrContains(ParseConfigText("a: &a [*a]", "c.yaml").status().message(),
                                "c.yaml:1: an alias stands inside what it stands for"));
}

TEST(ConfigBounds, NestingIsBounded) {
  for (const int depth : {100, 100'000}) {
    const absl::Status status =
        ParseConfigText(absl::StrCat("a: ", std::string(depth, '['), std::string(depth, ']')),
                        "c.yaml")
            .status();
    EXPECT_FALSE(status.ok());
    EXPECT_TRUE(absl::StartsWith(status.message(), "c.yaml")) << status;
  }
}

TEST(ConfigBounds, AFileHoldsOneDocument) {
  for (const char* more : {"---\ntrain: {steps: 9}\n", "---\n", "...\n---\nbogus: 1\n"}) {
    ExpectError(absl::StrCat(kBase, more), {}, "a second document begins here");
  }
  ExpectError(kBase, {"train={steps: 1}\n---\nx"}, "a second document begins here");
  EXPECT_EQ(ErrorOf(absl::StrCat("---\n", kBase)), "");
  EXPECT_EQ(ErrorOf(absl::StrCat("# of a run\n---\n", kBase, "...\n")), "");
}

TEST(ConfigBounds, AMixerThatServesNoPartOfASequenceForbidsContextParallelism) {
  ExpectError(kBase, {"model.mixers.gdn={type: gla}", "parallel.context=2"},
              "parallel.context: expected 1: mixers of type gla (model.mixers.gdn)");
}

TEST(ConfigBounds, NumbersBeyondAnyModelAreNamed) {
  const std::string largest = "9223372036854775807", half = "4611686018427387904";
  for (const std::string& value : {largest, half, std::string("100000")}) {
    for (const char* key :
         {"model.mixers.gdn.num_heads", "model.mixers.gdn.num_value_heads",
          "model.mixers.full.num_heads", "model.mixers.full.num_kv_heads", "model.num_layers"}) {
      ExpectError(kBase, {absl::StrCat(key, "=", value)}, absl::StrCat(key, ": expected at most "));
    }
  }
  for (const std::string& value : {largest, half}) {
    for (const char* key :
         {"model.hidden_size", "model.intermediate_size", "model.mixers.full.window",
          "train.batch_tokens", "train.steps", "data.seq_len", "validation.batches",
          "parallel.replicate", "parallel.context", "schedule.warmup_steps"}) {
      ExpectError(kBase, {absl::StrCat(key, "=", value)}, absl::StrCat(key, ": expected at most "));
    }
    for (const char* key : {"model.vocab_size", "model.mixers.full.head_dim",
                            "model.mixers.gdn.key_dim", "model.mixers.gdn.conv_width",
                            "model.padding_id", "train.recompute_blocks", "train.micro_batch"}) {
      ExpectError(kBase, {absl::StrCat(key, "=", value)}, absl::StrCat(key, "=", value, ": "));
    }
  }
  ExpectError(kBase, {"model.num_layers=1e12"},
              "--set model.num_layers=1e12: model.num_layers: expected at most 4096, got "
              "1000000000000");
  ExpectError(kBase,
              {"model.moe={num_experts: 4, intermediate_size: 8, shared_experts: " + half +
               ", every: " + largest + ", first_dense: " + largest + "}"},
              "model.moe.shared_experts: expected 0 to 1024");
  ExpectError(kBase,
              {"model.mixers.full={type: mla, qk_nope_dim: " + largest + ", qk_rope_dim: 64}"},
              "model.mixers.full.qk_nope_dim: expected at most 256");
  ExpectError(kBase,
              {"model.num_layers=4096", "model.hidden_size=262144",
               "model.intermediate_size=4194304", "model.mixers.full.head_dim=16"},
              "model.hidden_size: 262144 makes a model of 1.35108e+16 parameters");
}

TEST(ConfigBounds, ProductsDoNotWrapRound) {
  // 2^60 + 2 sequences of 16 tokens would be 32 tokens again.
  ExpectError(kBase, {"train.micro_batch=1152921504606846978"},
              "train.micro_batch: 1152921504606846978 x data.seq_len 16 are more than");
  ExpectError(kBase, {"train.steps=null", "train.tokens=9223372036854775807"},
              "train.tokens: expected at most 9007199254740992");
  ExpectError(kBase, {"train.steps=9007199254740992"},
              "train.steps: 9007199254740992 steps of 64 tokens are more than");
  const std::string stage =
      "{name: a, steps: 70368744177664, schedule: {peak: 1}, batch_tokens: 128}";
  ExpectError(absl::StrReplaceAll(kBase, {{"  steps: 100\n", ""},
                                          {"schedule: {type: cosine, peak: 1e-3, warmup_steps: 5, "
                                           "initial: 1e-5, final: 1e-4}\n",
                                           ""}}),
              {"stages=[" + stage + ", {name: b, steps: 1, schedule: {peak: 1}}]"},
              "stages[1].steps: 1 steps of 64 tokens are more than");
  RunConfig config;
  config.train.tokens = INT64_MAX;
  config.train.batch_tokens = 64;
  EXPECT_EQ(StagesOf(config)[0].num_steps, INT64_MAX / 64 + 1);
  EXPECT_EQ(StagesOf(config).back().end_token(), INT64_MAX);
}

TEST(ConfigBounds, RepeatedKeysAreFaultsWhereverTheyStand) {
  const std::string on_gpu = absl::StrReplaceAll(kBase, {{", device: cpu", ""}});
  ExpectError(on_gpu + "cuda:\n  train: {steps: 50}\ncuda:\n  train: {micro_batch: 4}\n",
              {"run.device=cuda"}, "c.yaml:22: cuda: given twice; keep one");
  ExpectError(on_gpu + "cuda:\n  train: {steps: 50, steps: 60}\n", {"run.device=cuda"},
              "c.yaml:21: cuda.train.steps: given twice; keep one");
  ExpectError(on_gpu + "cuda:\n  train: {steps: 50}\n  train: {micro_batch: 2}\n",
              {"run.device=cpu"}, "c.yaml:22: cuda.train: given twice; keep one");
  ExpectError(kBase, {"train={steps: 3, steps: 4}"}, "steps: given twice; keep one");
  // An override that removes both does not hide them.
  ExpectError(absl::StrReplaceAll(kBase, {{"  steps: 100\n", "  steps: 100\n  steps: 7\n"}}),
              {"train.steps=null", "train.tokens=640"}, "train.steps: given twice; keep one");
  const std::string merged = absl::StrReplaceAll(
      kBase, {{"validation:", "x: &x {every: 1}\nvalidation: {<<: *x}\nvalidation:"}});
  ExpectError(merged, {}, "validation.<<: unknown key");
}

TEST(ConfigBounds, ManyFaultsAreCountedAndTheFirstOnesShown) {
  std::string yaml = kBase;
  for (int i = 0; i < 20'000; ++i) absl::StrAppend(&yaml, "key", i, ": 1\n");
  const std::string error = ErrorOf(yaml);
  EXPECT_TRUE(absl::StartsWith(error, "20000 errors in the configuration\n  c.yaml:20: key0: "));
  EXPECT_TRUE(absl::EndsWith(error, "\n  and 19900 more")) << error.substr(error.size() - 100);
}

TEST(ConfigOverrides, KeysOfTheFileThatTheyMakeIdleAreNoFault) {
  for (const Sets& sets :
       {Sets{"validation.every=0"}, Sets{"schedule.type=constant"},
        Sets{"schedule={type: constant, warmup_steps: null}"},
        Sets{"stages=[{name: a, steps: 8, schedule: {peak: 1}}]"}, Sets{"schedule.warmup_steps=0"},
        Sets{"model.pattern=[gdn]"}, Sets{"data.sources.0.text=null", "tokenizer.type=store"}}) {
    EXPECT_EQ(ErrorOf(kBase, sets), "") << sets[0];
  }
  const auto config = ParseRunConfig(kBase, "c.yaml", {"schedule.type=constant"});
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->schedule.final, 0);
  const std::string wsd = absl::StrReplaceAll(
      kBase, {{"{type: cosine", "{type: wsd, decay_steps: 9, decay_shape: 1-sqrt"}});
  EXPECT_EQ(ErrorOf(wsd), "");
  EXPECT_EQ(ErrorOf(wsd, {"schedule.type=cosine"}), "");
  // The overrides themselves must have an effect, and so must the file's own keys.
  ExpectError(kBase, {"validation.every=0", "validation.batches=7"},
              "--set validation.batches=7: validation.batches: has no effect");
  ExpectError(
      kBase, {"model.pattern=[gdn]", "model.mixers.full.window=4"},
      "--set model.mixers.full.window=4: model.mixers.full: has no effect: no layer uses it");
  ExpectError(kBase, {"stages=[{name: a, steps: 8, schedule: {peak: 1}}]", "schedule.peak=2"},
              "--set schedule.peak=2: schedule: has no effect with stages");
  ExpectError(absl::StrReplaceAll(kBase, {{"every: 10", "every: 0"}}), {"train.steps=7"},
              "c.yaml:19: validation.batches: has no effect with every: 0");
}

TEST(ConfigOverrides, AreJudgedInTheFormThatRuns) {
  const std::string yaml = absl::StrCat(
      absl::StrReplaceAll(kBase, {{", device: cpu", ""}}),
      "cuda:\n  optimizer: {type: muon}\n  validation: {every: 0}\n  model: {hidden_size: 64}\n");
  // The base's validation.batches has no effect on a GPU.
  EXPECT_EQ(ErrorOf(yaml, {"run.device=cpu"}), "");
  EXPECT_EQ(ErrorOf(yaml, {"run.device=cuda"}), "");
  EXPECT_EQ(ErrorOf(yaml, {"run.device=cuda", "optimizer.momentum=0.9"}), "");
  ExpectError(yaml, {"run.device=cpu", "optimizer.momentum=0.9"},
              "optimizer.momentum: has no effect");
  EXPECT_EQ(ErrorOf(yaml, {"run.device=cpu", "validation.batches=7"}), "");
  ExpectError(yaml, {"run.device=cuda", "validation.batches=7"},
              "validation.batches: has no effect");
  EXPECT_EQ(ErrorOf(yaml, {"run.device=cuda", "model.mixers.full.num_heads=32"}), "");
  // Faults of the file show in both, and one that an override mends shows in none.
  const std::string wrong = absl::StrReplaceAll(yaml, {{"{type: muon}", "{type: muom}"}});
  ExpectError(wrong, {"run.device=cpu"}, "optimizer.type: expected one of adamw, muon");
  EXPECT_EQ(ErrorOf(absl::StrReplaceAll(yaml, {{"  steps: 100\n", ""}}),
                    {"run.device=cpu", "train.steps=30"}),
            "");
}

}  // namespace
}  // namespace wyvern
