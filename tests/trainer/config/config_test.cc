#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/config/load.h"
#include "trainer/config/stages.h"

namespace wyvern {
namespace {

using testing::AssertionResult;

constexpr char kBase[] = R"(run:
  name: test
  device: cpu
model:
  vocab_size: 300
  hidden_size: 32
  num_layers: 4
  mixers:
    gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}
    kda: {type: kda, num_heads: 2, key_dim: 16, value_dim: 16}
    local: {type: attention, num_heads: 2, window: 8}
  pattern: [gdn, kda]
  at: {local: [2]}
tokenizer: {type: byte}
data:
  sources:
    - dir: /tmp/store
      text: [a.txt]
  seq_len: 16
train:
  steps: 100
  batch_tokens: 64
  micro_batch: 2
schedule: {type: cosine, peak: 1e-3, warmup_steps: 5, initial: 1e-5, final: 1e-4}
)";

std::string ErrorOf(const std::string& yaml, const std::vector<std::string>& sets = {}) {
  const auto config = ParseRunConfig(yaml, "c.yaml", sets);
  return config.ok() ? "" : std::string(config.status().message());
}

AssertionResult Contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << part << "' is not in:\n" << text;
}

std::string Replaced(const std::string& from, const std::string& to) {
  return absl::StrReplaceAll(kBase, {{from, to}});
}

TEST(Config, ASourceIsMadeOfTextOrOfTokenFiles) {
  const auto with = [](const std::string& source, const std::string& tokenizer = "{type: byte}") {
    return absl::StrReplaceAll(kBase, {{"      text: [a.txt]\n", source},
                                       {"tokenizer: {type: byte}", "tokenizer: " + tokenizer}});
  };
  const auto read = ParseRunConfig(
      with("      tokens: [a.bin]\n      token_format: llm.c\n      token_dtype: uint32\n"
           "      document_end: eos\n      vocab_size: 300\n      eos: 299\n",
           "{type: store}"),
      "c.yaml");
  ASSERT_TRUE(read.ok()) << read.status();
  const TokenFilesSource& tokens = read->data.sources[0].tokens;
  EXPECT_EQ(tokens.format, TokenFileFormat::kLlmC);
  EXPECT_EQ(tokens.dtype, TokenDtype::kUint32);
  EXPECT_EQ(tokens.document_end, DocumentEnd::kEos);
  EXPECT_EQ(tokens.vocab_size, 300);
  EXPECT_EQ(tokens.eos, 299);
  EXPECT_TRUE(*ParseRunConfig(ToYaml(*read), "again") == *read);
  EXPECT_TRUE(Contains(ErrorOf(with("      tokens: [a.bin]\n", "{type: store}")),
                       "data.sources[0].vocab_size: expected the number of ids"));
  EXPECT_TRUE(Contains(ErrorOf(with("      tokens: [a.bin]\n      vocab_size: 300\n")),
                       "data.sources[0].vocab_size: has no effect, as the tokenizer says it"));
  EXPECT_TRUE(Contains(ErrorOf(with("      tokens: [a.bin]\n      text: [a.txt]\n")),
                       "data.sources[0].tokens: a source is made from text or from token files"));
  EXPECT_TRUE(Contains(ErrorOf(with("      token_format: npy\n")), "has no effect with a source "));
}

TEST(Config, ShardsHaveTheirOwnRules) {
  const auto with = [](const std::string& keys) {
    return Replaced("      text: [a.txt]\n", "      text: [a.txt]\n" + keys);
  };
  const auto read = ParseRunConfig(with("      shard_bytes: 2e9\n      workers: 16\n"), "c.yaml");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->data.sources[0].shard_bytes, 2'000'000'000);
  EXPECT_EQ(read->data.sources[0].workers, 16);
  EXPECT_TRUE(*ParseRunConfig(ToYaml(*read), "again") == *read);
  EXPECT_TRUE(Contains(ErrorOf(with("      workers: 2\n")), "has no effect with shard_bytes: 0"));
  EXPECT_TRUE(Contains(ErrorOf(with("      shard_bytes: 9\n      workers: 0\n")),
                       "data.sources[0].workers"));
  EXPECT_TRUE(Contains(ErrorOf(with("      shard_bytes: 9\n      val_documents: 2\n")),
                       "data.sources[0].val_documents: shards hold out a share"));
  EXPECT_TRUE(Contains(ErrorOf(with("      shard_bytes: 9\n      dedup: exact\n")),
                       "data.sources[0].dedup: exact compares"));
}

TEST(Config, ABosAtDocumentsNeedsATokenizerWithOne) {
  const auto with = [](const std::string& tokenizer) {
    const std::string keys =
        Replaced("      text: [a.txt]\n", "      text: [a.txt]\n      add_bos: true\n");
    return absl::StrReplaceAll(keys, {{"{type: byte}", tokenizer}});
  };
  const auto read = ParseRunConfig(with("{type: byte}"), "c.yaml");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->data.sources[0].text.add_bos);
  EXPECT_TRUE(*ParseRunConfig(ToYaml(*read), "again") == *read);
  const char* const error = "data.sources[0].add_bos: the tokenizer has no bos; name it by";
  EXPECT_TRUE(Contains(ErrorOf(with("{type: file, path: t, bos: none}")), error));
  EXPECT_TRUE(Contains(
      ErrorOf(with("{type: bpe, path: t.json, vocab_size: 300, byte_level: true}")), error));
  EXPECT_FALSE(Contains(ErrorOf(with("{type: file, path: t}")), error));
}

TEST(Config, AChoiceThatIsNoneIsOneError) {
  for (const auto& [from, to] : {std::pair("{type: byte}", "{type: fil, path: t, eos: none}"),
                                 std::pair("type: kda,", "type: kdaa, gate_lower_bound: -5,"),
                                 std::pair("type: kda,", "gate_lower_bound: -5,")}) {
    EXPECT_TRUE(Contains(ErrorOf(Replaced(from, to)), "1 error in the configuration")) << to;
  }
}

TEST(Config, AConfigJsonIsToldTheWay) {
  EXPECT_TRUE(Contains(ErrorOf(R"({"model_type": "kda", "hidden_size": 32})"),
                       "c.yaml: this is the config.json of a Hugging Face model, not a run; "
                       "`wyvern config from c.yaml` prints it"));
}

TEST(Config, ReadsWhatTheFileSaysAndDefaultsTheRest) {
  const auto config = ParseRunConfig(kBase, "c.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->run.dir, "runs/test");
  EXPECT_EQ(config->run.precision, DType::kFloat32);
  EXPECT_EQ(config->schedule.peak, 1e-3);
  EXPECT_EQ(StagesOf(*config)[0].SamplesPerStep(), 4);
  EXPECT_EQ(StagesOf(*config).back().end_step(), 100);
  EXPECT_EQ(config->train.grad_clip, 1.0);
  EXPECT_EQ(config->model.MixerOfLayer(0).type().name, "gated_delta_net");
  EXPECT_EQ(config->model.MixerOfLayer(1).type().name, "attention");
  EXPECT_EQ(config->model.MixerOfLayer(3).type().name, "kda");
  // As in the papers' code: KDA's output gate has two steps of rank value_dim.
  const auto& kda = *config->model.mixers.at("kda").As<DeltaMixerConfig>();
  EXPECT_EQ(kda.output_gate, OutputGate::kSigmoid);
  EXPECT_EQ(kda.output_gate_rank, 16);
}

TEST(Config, ReportsEveryFaultAtOnceWithItsLineAndTheNearestKey) {
  std::string yaml = Replaced("steps: 100", "steps: 100\n  grad_clip: many");
  yaml = absl::StrReplaceAll(yaml, {{"micro_batch: 2", "micro_bacth: 2"},
                                    {"type: cosine", "type: cosin"},
                                    {"seq_len: 16", "seq_len: 16\n  seq_len: 16"}});
  const std::string error = ErrorOf(yaml);
  EXPECT_TRUE(Contains(error, "4 errors in the configuration"));
  EXPECT_TRUE(Contains(error, "c.yaml:23: train.grad_clip: expected a number, got 'many'"));
  EXPECT_TRUE(Contains(error, "c.yaml:20: data.seq_len: given twice; keep one"));
  EXPECT_TRUE(
      Contains(error, "c.yaml:25: train.micro_bacth: unknown key; did you mean 'micro_batch'?"));
  EXPECT_TRUE(
      Contains(error, "schedule.type: expected one of constant, linear, cosine, wsd, got 'cosin'"));
}

TEST(Config, NamesCrossFieldFaults) {
  EXPECT_TRUE(Contains(ErrorOf(Replaced("batch_tokens: 64", "batch_tokens: 60")),
                       "c.yaml:22: train.batch_tokens: expected a multiple of data.seq_len = 16, "
                       "got 60"));
  EXPECT_TRUE(Contains(ErrorOf(Replaced("steps: 100\n", "steps: 100\n  tokens: 6400\n")),
                       "expected exactly one of train.steps and train.tokens, got both"));
  EXPECT_TRUE(Contains(ErrorOf(Replaced("warmup_steps: 5", "warmup_steps: 200")),
                       "the warm-up of 200 steps does not fit into the run's 100 steps"));
  EXPECT_TRUE(Contains(ErrorOf(Replaced("num_heads: 2, window", "num_heads: 5, window")),
                       "model.mixers.local.num_heads: expected a divisor of hidden_size 32"));
  EXPECT_TRUE(Contains(ErrorOf(Replaced("device: cpu", "device: cpu\n  precision: bf16")),
                       "run.precision: bf16 needs a GPU"));
  EXPECT_TRUE(Contains(ErrorOf(Replaced("{type: byte}", "{type: store}")),
                       "tokenizer.type: sources with text need a tokenizer"));
}

TEST(Config, RefusesKeysWithoutEffect) {
  EXPECT_TRUE(Contains(ErrorOf(Replaced("final: 1e-4", "final: 1e-4, decay_shape: linear")),
                       "schedule.decay_shape: has no effect with type: cosine; remove it"));
  EXPECT_TRUE(Contains(ErrorOf(Replaced("{type: byte}", "{type: byte, vocab_size: 300}")),
                       "tokenizer.vocab_size: has no effect with type: byte; remove it"));
  EXPECT_TRUE(Contains(
      ErrorOf(Replaced("{type: gated_delta_net,", "{type: gated_delta_net, decay_rank: 8,")),
      "model.mixers.gdn.decay_rank: has no effect with type: gated_delta_net; remove it"));
  EXPECT_TRUE(Contains(ErrorOf(Replaced("text: [a.txt]", "val_fraction: 0.1")),
                       "data.sources[0].val_fraction: has no effect with stores that exist"));
}

TEST(Config, SetGoesThroughTheSameReader) {
  const auto config = ParseRunConfig(
      kBase, "c.yaml",
      {"train.steps=7", "model.mixers.local.window=4", "data.sources.0.dir=/tmp/other",
       "generate={prompt: 'In the beginning', tokens: 5}", "model.at.local=[1, 2]"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->train.steps, 7);
  EXPECT_EQ(config->model.mixers.at("local").As<AttentionMixerConfig>()->window, 4);
  EXPECT_EQ(config->data.sources[0].dir, "/tmp/other");
  EXPECT_EQ(config->generate.prompt, "In the beginning");
  EXPECT_EQ(config->model.MixerOfLayer(0).type().name, "attention");

  EXPECT_TRUE(Contains(ErrorOf(kBase, {"train.stepz=7"}),
                       "--set train.stepz=7: train.stepz: unknown key; did you mean 'steps'?"));
  EXPECT_TRUE(Contains(ErrorOf(kBase, {"train.steps=x"}),
                       "--set train.steps=x: train.steps: expected an integer, got 'x'"));
  EXPECT_TRUE(Contains(ErrorOf(kBase, {"steps"}), "--set steps: expected key=value"));
  EXPECT_TRUE(Contains(ErrorOf(kBase, {"train.steps="}), "--set train.steps=: no value"));
  EXPECT_TRUE(Contains(ErrorOf(kBase, {"data.sources.3.dir=x"}),
                       "expected an index into the list below 1, or 1 for one more entry"));
}

TEST(Config, AnOverrideMayAddAnEntryToAList) {
  const auto config =
      ParseRunConfig(kBase, "c.yaml",
                     {"data.sources.0.weight=2", "data.sources.1={dir: more, weight: 3}",
                      "data.sources.2.dir=most", "data.sources.2.weight=1"});
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->data.sources.size(), 3u);
  EXPECT_EQ(config->data.sources[1].dir, "more");
  EXPECT_EQ(config->data.sources[1].weight, 3);
  EXPECT_EQ(config->data.sources[2].dir, "most");
}

TEST(Config, NullGivesAKeyItsDefaultBack) {
  const auto config = ParseRunConfig(kBase, "c.yaml", {"train.steps=null", "train.tokens=15e3"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->train.steps, 0);
  EXPECT_EQ(StagesOf(*config).back().end_step(), 235);  // 15000 / 64, rounded up
}

TEST(Config, TheCudaSectionOverridesOnAGpuOnly) {
  const std::string yaml =
      absl::StrReplaceAll(kBase, {{"  device: cpu\n", ""}}) +
      "cuda:\n  model: {hidden_size: 64, mixers: {gdn: {num_heads: 4}}}\n  train: {steps: 9}\n";
  const auto cpu = ParseRunConfig(yaml, "c.yaml", {"run.device=cpu"});
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ(cpu->model.hidden_size, 32);
  const auto cuda = ParseRunConfig(yaml, "c.yaml", {"run.device=cuda", "train.steps=8"});
  ASSERT_TRUE(cuda.ok()) << cuda.status();
  EXPECT_EQ(cuda->run.precision, DType::kBf16);
  EXPECT_EQ(cuda->model.hidden_size, 64);
  EXPECT_EQ(cuda->model.mixers.at("gdn").As<DeltaMixerConfig>()->num_heads, 4);
  EXPECT_EQ(cuda->train.steps, 8);
  // Its faults show on every machine.
  EXPECT_TRUE(Contains(
      ErrorOf(absl::StrReplaceAll(yaml, {{"{steps: 9}", "{stepps: 9}"}}), {"run.device=cpu"}),
      "train.stepps: unknown key; did you mean 'steps'?"));
}

TEST(Config, WhatIsWrittenReadsBackEqual) {
  const std::vector<std::vector<std::string>> variants = {
      {},
      {"schedule={type: wsd, peak: 1, decay_steps: 5, decay_shape: 1-sqrt}", "run.seed=99"},
      {"model.mixers.kda.gate_lower_bound=-5", "model.mixers.local.rope=false",
       "generate.prompt='null'", "data.sources.0.document_separator=\"\\n\\n\""},
      {"train.steps=null", "train.tokens=1000000", "optimizer.weight_decay=0", "validation.every=0",
       "generate={prompt: a, temperature: 0}"},
      {"data.sources=[{dir: a, weight: 1}, {dir: 'b c', weight: 0.3}]", "tokenizer.type=store"},
      {"model.mixers.kda.output_gate_bias=false", "model.mixers.local.window=null",
       "model.mixers.local={type: mla, num_heads: 2, q_lora_rank: 8, kv_lora_rank: 16, "
       "qk_nope_dim: 8, qk_rope_dim: 4, value_dim: 8, rope: true, rope_theta: 500, "
       "output_gate: sigmoid}"}};
  for (const auto& sets : variants) {
    const auto config = ParseRunConfig(kBase, "c.yaml", sets);
    ASSERT_TRUE(config.ok()) << config.status();
    const std::string yaml = ToYaml(*config);
    const auto again = ParseRunConfig(yaml, "resolved");
    ASSERT_TRUE(again.ok()) << again.status() << yaml;
    EXPECT_TRUE(*again == *config) << yaml;
    EXPECT_EQ(ToYaml(*again), yaml);
    EXPECT_EQ(ConfigHash(*again), ConfigHash(*config));
  }
}

TEST(Config, DifferencesNameTheKeys) {
  const auto a = ParseRunConfig(kBase, "c.yaml");
  const auto b =
      ParseRunConfig(kBase, "c.yaml", {"train.steps=9", "model.pattern=[gdn, kda, kda]"});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(Differences(*a, *b), (std::vector<std::string>{"train.steps: 100 -> 9",
                                                           "model.pattern[2]: (absent) -> kda"}));
  EXPECT_NE(ConfigHash(*a), ConfigHash(*b));
  EXPECT_TRUE(Differences(*a, *a).empty());
  const auto more = ParseRunConfig(
      kBase, "c.yaml", {"data.sources.0.weight=1", "data.sources.1={dir: more, weight: 3}"});
  ASSERT_TRUE(more.ok()) << more.status();
  const std::vector<std::string> added = Differences(*a, *more);
  EXPECT_EQ(std::count(added.begin(), added.end(), "data.sources[1]: added"), 1);
  EXPECT_LE(added.size(), 4u) << "the entry's keys are no lines of their own";
  const std::vector<std::string> removed = Differences(*more, *a);
  EXPECT_EQ(std::count(removed.begin(), removed.end(), "data.sources[1]: removed"), 1);
}

TEST(Config, AnOverrideTakesThePlaceOfItsRivalInTheFile) {
  const auto parsed = [](std::vector<std::string> sets, const std::string& yaml = kBase) {
    const auto config = ParseRunConfig(yaml, "c.yaml", sets);
    EXPECT_TRUE(config.ok()) << config.status();
    return config.value_or(RunConfig());
  };
  const RunConfig tokens = parsed({"train.tokens=6400", "schedule.warmup_tokens=128"});
  EXPECT_EQ(tokens.train.steps, 0);
  EXPECT_EQ(tokens.train.tokens, 6400);
  EXPECT_EQ(tokens.schedule.warmup_steps, 0);
  EXPECT_EQ(StagesOf(tokens)[0].WarmupSteps(), 2);
  const RunConfig wsd = parsed({"schedule={decay_tokens: 640}"},
                               Replaced("type: cosine", "type: wsd, decay_steps: 7"));
  EXPECT_EQ(wsd.schedule.decay_steps, 0);
  EXPECT_EQ(wsd.schedule.decay_tokens, 640);
  const std::string held_out = Replaced("text: [a.txt]", "text: [a.txt]\n      val_documents: 3");
  const RunConfig none = parsed({"data.sources.0.val_fraction=0", "validation.every=0"}, held_out);
  EXPECT_EQ(none.data.sources[0].val_documents, 0);
  EXPECT_EQ(none.data.sources[0].val_fraction, 0);
  // A key that is set to none leaves the other one; two overrides are the user's to settle.
  EXPECT_EQ(parsed({"train.tokens=0"}).train.steps, 100);
  EXPECT_TRUE(Contains(ErrorOf(kBase, {"train.tokens=64", "train.steps=3"}), "got both"));
  const std::string both = Replaced("steps: 100", "steps: 100\n  tokens: 64");
  EXPECT_TRUE(Contains(ErrorOf(both), "got both"));
  EXPECT_TRUE(Contains(ErrorOf(both, {"run.seed=2"}), "got both"));
}

TEST(Config, AllBlocksAreRecomputedByName) {
  const auto config = ParseRunConfig(kBase, "c.yaml", {"train.recompute_blocks=all"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->train.recompute_blocks, 4);
  EXPECT_TRUE(Contains(ErrorOf(kBase, {"train.recompute_blocks=-1"}), "or all, got -1"));
}

TEST(Config, OverridesSayWhatIsThereAndWhichFormTheyActOn) {
  EXPECT_TRUE(Contains(ErrorOf(kBase, {"cuda.train.steps=3"}), "leave out 'cuda.'"));
  EXPECT_TRUE(Contains(ErrorOf(kBase, {"model.pattern=[gnd]"}),
                       "'gnd' is not among the mixers (gdn, kda, local); did you mean 'gdn'?"))
      << ErrorOf(kBase, {"model.pattern=[gnd]"});
  EXPECT_TRUE(Contains(ErrorOf(kBase, {"model.mixers.kda.type=kad"}),
                       "model.mixers.kda.type: expected one of delta_net, gated_delta_net, kda, "
                       "gla, mamba2, attention, mla, got 'kad'; did you mean 'kda'?"));
}

TEST(Config, BrokenYamlIsAnErrorWithItsLine) {
  EXPECT_TRUE(Contains(ErrorOf("run: {name: x\nmodel: [1, 2\n"), "not valid YAML"));
  EXPECT_TRUE(Contains(ErrorOf(std::string("\x89HDF\r\n\x1a\n\0\0", 10)),
                       "c.yaml: not valid YAML: it is binary data"));
  EXPECT_TRUE(Contains(ErrorOf("just text"), "expected sections"));
  EXPECT_TRUE(Contains(ErrorOf(""), "run.name"));
  EXPECT_TRUE(
      Contains(ErrorOf(kBase, {"run.name=.."}), "run.name: '..' names a folder that is there"));
  EXPECT_TRUE(
      Contains(ErrorOf(kBase, {"run.name=."}), "run.name: '.' names a folder that is there"));
}

}  // namespace
}  // namespace wyvern
