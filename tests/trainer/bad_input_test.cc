// Errors of users and of machines: one message on stderr, exit code 1 (2 for wrong usage), nothing
// half-written.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/runtime/device.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/run/version.h"

namespace wyvern {
namespace {

class BadInputTest : public RunTest {
 protected:
  void ExpectFailure(const ProcessResult& result, const std::vector<std::string>& parts,
                     int exit_code = 1) {
    EXPECT_EQ(result.exit_code, exit_code) << result.out;
    for (const std::string& part : parts) {
      EXPECT_NE(result.err.find(part), std::string::npos)
          << "'" << part << "' is not in: " << result.err;
    }
    EXPECT_FALSE(std::filesystem::exists(Path("run/checkpoints")));
  }
};

TEST_F(BadInputTest, ConfigurationFaultsAreReportedTogether) {
  ExpectFailure(Train({"train.stepz=5", "model.mixers.local.window=-3", "data.seq_len=many"}),
                {"3 errors in the configuration",
                 "--set train.stepz=5: train.stepz: unknown key; did you mean 'steps'?",
                 "model.mixers.local.window: expected a positive number or 0 (all tokens), got -3",
                 "data.seq_len: expected an integer, got 'many'"},
                /*exit_code=*/2);
  ExpectFailure(Train({"model.mixers.kda.key_dim=300"}),
                {"model.mixers.kda.key_dim: expected 1 to 256"}, /*exit_code=*/2);
  EXPECT_FALSE(std::filesystem::exists(Path("run")));
  ExpectFailure(Wyvern({"train", Path("nothing.yaml")}), {"nothing.yaml", "No such file"},
                /*exit_code=*/2);
  // On several ranks too, so that scripts/launch starts none of them again.
  const ProcessResult ranks = Wait(Start(TrainArgs(Path("config.yaml"), {"train.stepz=5"}), 2));
  EXPECT_EQ(ranks.exit_code, 2) << ranks.err;
  EXPECT_NE(ranks.err.find("train.stepz: unknown key"), std::string::npos) << ranks.err;
  WriteText("sweep.yaml", "base: nothing.yaml\n");
  for (const char* command : {"plan", "preflight", "sweep"}) {
    EXPECT_EQ(Wyvern({command, Path("sweep.yaml")}).exit_code, 2) << command;
  }
}

TEST_F(BadInputTest, WhatDoesNotFitIntoMemoryIsNamed) {
  const std::string huge = WriteText("huge.json", "");
  std::filesystem::resize_file(huge, uint64_t{1} << 30);
  ExpectFailure(
      Wait(StartCommand({"/bin/sh", "-c",
                         absl::StrCat("ulimit -v 1000000; exec ", Binary(),
                                      " data prepare --input ", WriteText("text.txt", "a"),
                                      " --tokenizer ", huge, " --output ", Path("out"))})),
      {absl::StrCat("wyvern data prepare: out of memory while reading ", huge, "\n")});
  // A file too long for a configuration is not read.
  std::filesystem::resize_file(huge, uint64_t{1} << 40);
  ExpectFailure(
      Wyvern({"config", "show", huge}),
      {absl::StrCat(huge, ": it has 1099511627776 bytes, and a configuration has at most")}, 2);
}

// With a right checksum, so that only the values are wrong.
TEST_F(BadInputTest, ManifestsThatSpeakOfSomethingElse) {
  ASSERT_EQ(Train({"train.steps=1", "schedule.warmup_steps=0"}).exit_code, 0);
  const std::string folder = Path("run/checkpoints/step_00000001");
  const std::string path = folder + "/manifest.json", good = Read(path);
  const std::vector<std::string> train =
      TrainArgs(Path("config.yaml"), {"train.steps=2", "schedule.warmup_steps=0"});
  const std::vector<std::string> generate = {"generate", folder,         "--prompt",
                                             "a",        "--max-tokens", "1"};
  const struct {
    const char *from, *to;
    const std::vector<std::string>& args;
    const char* part;
  } faults[] = {
      {"\"training\":{", "\"training\":7,\"x\":{", train,
       "manifest.json: damaged: meta.training: expected an object, got 7"},
      {"\"updates\":1", "\"updates\":\"1\"", train,
       "damaged: meta.training.updates: expected an integer from 0, got \"1\""},
      {"\"updates\":1", "\"updates\":2", train, "damaged: meta.training.updates: expected counts"},
      {"\"config\":\"", "\"config\":[],\"y\":\"", train,
       "damaged: meta.config: expected a string, got []"},
      {"\"num_layers\":3", "\"num_layers\":\"three\"", generate,
       "the manifest is damaged: model.num_layers: expected an integer, found \"three\""},
      {"\"num_layers\":3", "\"num_layers\":18446744073709551615", generate,
       "model.num_layers: expected an integer, found 18446744073709551615"},
      {"\"num_layers\":3", "\"num_layers\":4096", generate, "a model of 4096 layers, but "},
      {"\"vocab_size\":258", "\"vocab_size\":2000000000", generate,
       "tensor 'model/embedding.weight': expected [2000000000, 32], found [258, 32]"},
  };
  for (const auto& fault : faults) {
    std::string rest = good.substr(good.find('\n') + 1);
    const size_t at = rest.find(fault.from);
    ASSERT_NE(at, std::string::npos) << fault.from;
    rest.replace(at, std::string(fault.from).size(), fault.to);
    WriteText("run/checkpoints/step_00000001/manifest.json",
              absl::StrFormat("{\"manifest_crc32\": \"%08x\",\n%s", Crc32(rest.data(), rest.size()),
                              rest));
    const ProcessResult result = Wyvern(fault.args);
    EXPECT_EQ(result.exit_code, 1) << fault.to;
    EXPECT_NE(result.err.find(fault.part), std::string::npos) << result.err;
    EXPECT_NE(result.err.find(folder), std::string::npos) << result.err;
  }
}

TEST_F(BadInputTest, UsageErrorsExitWithTwo) {
  EXPECT_EQ(Wyvern({"train"}).exit_code, 2);
  EXPECT_EQ(Wyvern({"trian"}).exit_code, 2);
  const std::string huge = "4611686018427387904";
  EXPECT_EQ(Wyvern({"eval", "x", "--data", "y", "--batch", huge, "--batches", "4"}).exit_code, 2);
  EXPECT_EQ(Wyvern({"eval", "x", "--data", "y", "--seq-len", huge}).exit_code, 2);
  EXPECT_EQ(Wyvern({"export", "x", "y", "--max-shard-gb", "1e300"}).exit_code, 2);
  const std::pair<std::vector<std::string>, const char*> unknown[] = {
      {{"trian", "config.yaml"}, "unknown command 'trian'; did you mean 'train'?"},
      {{"data", "prepair"}, "unknown command 'prepair' of data; did you mean 'prepare'?"},
      {{"--versoin"}, "unknown option '--versoin'; did you mean '--version'?"},
      {{"generate", "run", "--max_tokens=5"},
       "unknown option '--max_tokens' of generate; did you mean '--max-tokens'?"},
      {{"fit", "--point", "p.csv"}, "unknown option '--point' of fit; did you mean '--points'?"},
      {{"train", "config.yaml", "--resume", "yes"},
       "'yes' is none of auto, none, RUN@STEP, a step and a checkpoint's folder"},
      {{"generate", "x", "--prompt", "a", "--max-tokens", "0"},
       "--max-tokens: Value 0 not in range"},
      {{"sweep", "x", "--dry-run", "--rate", "0"}, "expected a number above 0, got '0'"},
      {{"zzzzzzzz"}, "unknown command 'zzzzzzzz'; there are train, preflight, sweep"}};
  for (const auto& [args, message] : unknown) {
    const ProcessResult result = Wyvern(args);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
  }
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"generate", "run", "--prompt", "a", "--seed", "-1"},
        {"generate", "run", "--prompt", "a", "--seed=-1"},
        {"fit", "--points", "p.csv", "--seed", "-18446744073709551615"}}) {
    const ProcessResult result = Wyvern(args);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_NE(result.err.find("--seed: expected a number of at least 0, got -1"), std::string::npos)
        << result.err;
  }
  for (const char* option : {"--seed", "--top-k"}) {
    const ProcessResult result =
        Wyvern({"generate", "run", "--prompt", "a", option, "99999999999999999999"});
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_NE(result.err.find("99999999999999999999 does not fit into 64 bits"), std::string::npos)
        << result.err;
  }
  EXPECT_EQ(Wyvern({"--version"}).out, Version() + "\n");
  EXPECT_EQ(Wyvern({"selftest", "--device", "tpu"}).exit_code, 2);
  EXPECT_EQ(Wyvern({"--help"}).exit_code, 0);
}

TEST_F(BadInputTest, MissingAndEmptyData) {
  ExpectFailure(Train({"data.sources.0.text=[" + Path("gone.txt") + "]"}), {"gone.txt"});
  EXPECT_FALSE(std::filesystem::exists(Path("store_a/train.h5")));
  const std::string store = Path("store_a");
  ExpectFailure(Train({"data.sources=[{dir: " + store + "}]"}),
                {store +
                 "/train.h5: there is no token store; make it with `wyvern data prepare "
                 "--output " +
                 store + "`, or name data.sources[0].text"});
  WriteText("a.txt", "");
  ExpectFailure(Train(), {"a.txt"});
  EXPECT_FALSE(std::filesystem::exists(Path("store_a/train.h5")));
}

TEST_F(BadInputTest, PreparingDataNamesTheOption) {
  WriteText("two.txt", "one\n\ntwo");
  const auto prepare = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = {"data",
                                     "prepare",
                                     "--input",
                                     Path("two.txt"),
                                     "--output",
                                     Path("two"),
                                     "--document-separator",
                                     "\\n\\n"};
    args.insert(args.end(), more.begin(), more.end());
    return Wyvern(args);
  };
  ExpectFailure(prepare({"--val-fraction", "2"}),
                {"wyvern: --val-fraction: expected at least 0 and less than 1, got 2"});
  ExpectFailure(prepare({"--val-documents", "5"}),
                {"wyvern: --val-documents: 5 cannot be held out of 2 documents"});
}

TEST_F(BadInputTest, DamagedStores) {
  ASSERT_EQ(
      Train({"train.steps=1", "schedule.warmup_steps=0", "run.dir=" + Path("other")}).exit_code, 0);
  const std::string store = Path("store_b/train.h5");
  const std::string good = Read(store);
  WriteText("store_b/train.h5", good.substr(0, good.size() / 2));
  ExpectFailure(Train(), {store});
  WriteText("store_b/train.h5", good);
  // A bit of a token: the word "delta" stands in the store as bytes of two.
  size_t offset = good.find(std::string("d\0e\0l\0t\0a\0", 10));
  ASSERT_NE(offset, std::string::npos);
  FlipByte(store, offset);
  ExpectFailure(Train(), {store, "checksum"});
}

TEST_F(BadInputTest, TokenizersThatDoNotFit) {
  ASSERT_EQ(
      Train({"train.steps=1", "schedule.warmup_steps=0", "run.dir=" + Path("other")}).exit_code, 0);
  const ProcessResult made = Wyvern({"data", "tokenizer", "--input", Path("a.txt"), "--output",
                                     Path("t.model"), "--vocab-size", "275"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const std::string by_file = "tokenizer={type: file, path: " + Path("t.model") + "}";
  ExpectFailure(Train({by_file, "model.vocab_size=300"}),
                {"was made in another way than this configuration says"});
  const std::string stores = absl::StrCat("data.sources=[{dir: ", Path("store_a"), "}]");
  ExpectFailure(Train({by_file, stores, "model.vocab_size=300"}),
                {"store_a/train.h5", "tokenizer"});
  ExpectFailure(Train({"tokenizer={type: store}", stores, "model.vocab_size=200"}),
                {"its tokens go up to 257, but model.vocab_size is 200"});
  WriteText("bad.model", Read(Path("t.model")).substr(0, 300));
  ExpectFailure(Train({"tokenizer={type: file, path: " + Path("bad.model") + "}", stores}),
                {"bad.model"});
}

TEST_F(BadInputTest, ALossThatIsNotANumber) {
  const ProcessResult trained =
      Train({"train.steps=1", "schedule.warmup_steps=0",
             "model.mixers={gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: "
             "16}}",
             "model.pattern=[gdn]"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  ASSERT_EQ(Wyvern({"export", Path("run"), Path("hf")}).exit_code, 0);
  std::string weights = Read(Path("hf/model.safetensors"));
  ASSERT_GT(weights.size(), 4u);
  const uint32_t nan = 0x7fc00000;
  std::memcpy(weights.data() + weights.size() - sizeof(nan), &nan, sizeof(nan));
  ASSERT_TRUE(WriteFileAtomically(Path("hf/model.safetensors"), weights).ok());
  const ProcessResult imported = Wyvern({"import", Path("hf"), Path("nan")});
  EXPECT_EQ(imported.exit_code, 0) << imported.err;
  EXPECT_NE(imported.err.find("not finite in fp32"), std::string::npos) << imported.err;
  for (const char* format : {"--batches=1", "--json"}) {
    const ProcessResult evaluated =
        Wyvern({"eval", Path("nan"), "--data", Path("store_a/val.h5"), format});
    EXPECT_EQ(evaluated.exit_code, 1);
    EXPECT_NE(evaluated.out.find("loss"), std::string::npos) << evaluated.out;
    EXPECT_NE(evaluated.err.find("the loss is not a number; "), std::string::npos) << evaluated.err;
  }
}

TEST_F(BadInputTest, AGpuThatIsNotThere) {
  if (CudaAvailable()) GTEST_SKIP() << "this machine has a GPU";
  ExpectFailure(Train({"run.device=cuda"}), {"run.device: cuda: ", "set run.device: cpu or auto"});
  EXPECT_EQ(Wyvern({"selftest", "--device", "cuda"}).exit_code, 1);
}

TEST_F(BadInputTest, ARunFolderInUse) {
  const Process first = Start(TrainArgs(Path("config.yaml"), {"train.steps=1000000"}));
  ASSERT_TRUE(WaitUntil(first, [&] { return Read(Path("run/metrics.jsonl")).size() > 100; }));
  const ProcessResult second = Train();
  kill(first.pid, SIGKILL);
  Wait(first);
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_NE(second.err.find("another process is training in this run folder"), std::string::npos)
      << second.err;
  EXPECT_NE(second.err.find(absl::StrCat("process ", first.pid, " on ")), std::string::npos)
      << second.err;
}

}  // namespace
}  // namespace wyvern
