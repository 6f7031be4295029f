#include "trainer/run/run_data.h"

#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<RunData> Prepare(const RunConfig& config) {
  return PrepareRunData(config, StagesOf(config));
}

class RunDataTest : public DataTest {
 protected:
  RunConfig Config(const std::vector<DataSource>& sources) const {
    RunConfig config;
    config.tokenizer.type = TokenizerType::kByte;
    config.data.sources = sources;
    config.data.seq_len = 8;
    config.model.vocab_size = 300;
    config.validation.every = 0;
    return config;
  }
  DataSource Source(const std::string& dir, const std::string& text) const {
    DataSource source;
    source.dir = Path(dir);
    source.text.paths = {text};
    source.text.document_separator = "\n\n";
    source.val_documents = 1;
    return source;
  }
  static std::string Documents(const std::string& word, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) absl::StrAppend(&text, word, " ", i, " and more\n\n");
    return text;
  }
};

TEST_F(RunDataTest, ChangedTextIsNamedAndEqualTextIsUsed) {
  const std::string text = WriteText("a.txt", Documents("tea", 20));
  const RunConfig config = Config({Source("store", text)});
  ASSERT_TRUE(Prepare(config).ok());
  const std::string store = *ReadFile(Path("store/train.h5"));
  ASSERT_TRUE(Prepare(config).ok());
  WriteText("a.txt", Documents("cup", 20));
  const absl::Status status = Prepare(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(status.message(), "was made in another way")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), text)) << status;
  EXPECT_TRUE(*ReadFile(Path("store/train.h5")) == store);
  WriteText("a.txt", Documents("tea", 20));
  EXPECT_TRUE(Prepare(config).ok());
}

TEST_F(RunDataTest, ShardsAreMadeFinishedAndRead) {
  std::string lines;
  for (int i = 0; i < 300; ++i) {
    absl::StrAppend(&lines, "{\"text\": \"tea ", i, " and more\"}\n");
  }
  DataSource source = Source("shards", WriteText("a.jsonl", lines));
  source.text.document_separator = "";
  source.val_documents = 0;
  source.val_fraction = 0.1;
  source.shard_bytes = 2000;
  source.workers = 2;
  RunConfig config = Config({source});
  config.validation.every = 10;
  const auto data = Prepare(config);
  ASSERT_TRUE(data.ok()) << data.status();
  const std::string fingerprint = data->stores[0]->fingerprint();
  EXPECT_GT(data->stores[0]->info().num_shards, 3);
  ASSERT_NE(data->validation[0], nullptr);
  EXPECT_EQ(data->stores[0]->num_documents() + data->validation[0]->num_documents(), 300);
  EXPECT_FALSE(ValidationBatches(config, *data)->empty());

  fs::remove_all(Path("shards/shard-00001"));
  DataSource named;
  named.dir = Path("shards");
  config = Config({named});
  EXPECT_TRUE(absl::StrContains(Prepare(config).status().message(), "1 of "));
  config = Config({source});
  const auto again = Prepare(config);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->stores[0]->fingerprint(), fingerprint);
  EXPECT_EQ((*Prepare(Config({named}))).stores[0]->fingerprint(), fingerprint);
  WriteText("a.jsonl", lines + "{\"text\": \"one more\"}\n");
  EXPECT_TRUE(absl::StrContains(Prepare(config).status().message(), "has changed"));
}

TEST_F(RunDataTest, TokenFilesAreImportedOnceAndCompared) {
  std::string values;
  for (int i = 0; i < 60; ++i) values += std::string({static_cast<char>(i % 7 == 6 ? 9 : i), '\0'});
  DataSource source;
  source.dir = Path("ids");
  source.tokens.paths = {WriteText("ids.bin", values)};
  source.tokens.format = TokenFileFormat::kRaw;
  source.tokens.dtype = TokenDtype::kUint16;
  source.tokens.document_end = DocumentEnd::kEos;
  source.tokens.vocab_size = 100;
  source.tokens.eos = 9;
  source.val_documents = 2;
  RunConfig config = Config({source});
  config.tokenizer.type = TokenizerType::kStore;
  const auto data = Prepare(config);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->tokenizer->kind(), "ids");
  EXPECT_EQ(data->stores[0]->num_documents() + data->validation[0]->num_documents(), 10);
  const std::string store = *ReadFile(Path("ids/train.h5"));
  ASSERT_TRUE(Prepare(config).ok());
  EXPECT_TRUE(*ReadFile(Path("ids/train.h5")) == store);

  config.data.sources[0].tokens.document_end = DocumentEnd::kFile;
  EXPECT_TRUE(absl::StrContains(Prepare(config).status().message(), "document_end"));
  config.data.sources[0] = source;
  values[2] = 55;
  WriteText("ids.bin", values);
  EXPECT_TRUE(absl::StrContains(Prepare(config).status().message(), "ids.bin has changed"));
  fs::remove(Path("ids.bin"));
  EXPECT_TRUE(Prepare(config).ok());

  // The run's own tokenizer, whose eos is 257.
  WriteText("bytes.bin", std::string("a\0b\0\1\1c\0\1\1", 10));
  source.dir = Path("bytes");
  source.tokens = {.paths = {Path("bytes.bin")},
                   .dtype = TokenDtype::kUint16,
                   .document_end = DocumentEnd::kEos};
  source.val_documents = 0;
  source.val_fraction = 0;
  config = Config({source});
  config.data.seq_len = 2;
  const auto bytes = Prepare(config);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(bytes->stores[0]->num_documents(), 2);
}

TEST_F(RunDataTest, ATokenizerReadsEverySourceInItsOwnWay) {
  std::string web, code;
  for (int i = 0; i < 100; ++i) {
    absl::StrAppend(&web, "{\"text\": \"quick brown fox ", i, "\"}\n");
    absl::StrAppend(&code, "{\"content\": \"alpha beta ", i, "\"}\n");
  }
  DataSource one = Source("one", WriteText("web.jsonl", web));
  DataSource two = Source("two", WriteText("code.jsonl", code));
  one.text.document_separator = two.text.document_separator = "";
  two.text.field = "content";
  RunConfig config = Config({one, two});
  config.tokenizer.type = TokenizerType::kBpe;
  config.tokenizer.path = Path("tokens.model");
  config.tokenizer.vocab_size = 290;
  const auto data = Prepare(config);
  ASSERT_TRUE(data.ok()) << data.status();
  for (const char* text : {"quick brown", "alpha beta"}) {
    EXPECT_LT(data->tokenizer->Encode(text).size(), std::string(text).size()) << text;
  }
}

TEST_F(RunDataTest, ATokenizerOfBytesIsTrainedAndReadAgain) {
  RunConfig config = Config({Source("a", WriteText("a.txt", Documents("quick brown fox", 60)))});
  config.model.vocab_size = 300;
  TokenizerSection& section = config.tokenizer;
  section = {.type = TokenizerType::kBpe,
             .path = Path("bytes/tokenizer.json"),
             .vocab_size = 270,
             .byte_level = true,
             .settings = {.bos = "<s>", .eos = "", .pattern = "llama3"},
             .pad = "<pad>",
             .special_tokens = {"<|user|>"}};
  const auto data = Prepare(config);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->tokenizer->kind(), "tokenizer.json");
  EXPECT_EQ(data->tokenizer->Encode("<s><|endoftext|><pad><|user|>"),
            std::vector<int32_t>({0, 1, 2, 3}));
  EXPECT_EQ(data->tokenizer->eos_id(), 1);
  EXPECT_EQ(data->stores[0]->info().tokenizer_hash, data->tokenizer->hash());
  EXPECT_TRUE(absl::StrContains(*ReadFile(section.path), "\\p{N}{1,3}"));
  ASSERT_TRUE(Prepare(config).ok());  // with what is there

  const auto refusal = [&](const std::function<void(TokenizerSection*)>& change) {
    RunConfig other = config;
    change(&other.tokenizer);
    return std::string(Prepare(other).status().message());
  };
  EXPECT_TRUE(absl::StrContains(refusal([](auto* t) { t->vocab_size = 280; }),
                                "has 270 tokens, tokenizer.vocab_size is 280"));
  EXPECT_TRUE(absl::StrContains(refusal([](auto* t) { t->special_tokens = {"<|tool|>"}; }),
                                "has no special token <|tool|>"));
  EXPECT_TRUE(absl::StrContains(refusal([](auto* t) { t->settings.pattern = "qwen"; }),
                                "divides text otherwise than by the pattern qwen"));
  EXPECT_TRUE(absl::StrContains(refusal([](auto* t) { t->settings.pattern = ""; }),
                                "divides text otherwise than by the pattern gpt2"));
  section.settings.pattern = "gpt5";
  bool named = false;
  for (const std::string& error : config.Validate()) {
    named = named || absl::StrContains(error, "tokenizer: pattern: expected one of gpt2");
  }
  EXPECT_TRUE(named);
}

TEST_F(RunDataTest, StoresOfTwoPreparationsAreNotUsedTogether) {
  ASSERT_TRUE(Prepare(Config({Source("a", WriteText("a.txt", Documents("a", 20)))})).ok());
  ASSERT_TRUE(Prepare(Config({Source("b", WriteText("b.txt", Documents("b", 20)))})).ok());
  fs::copy(Path("b/val.h5"), Path("a/val.h5"), fs::copy_options::overwrite_existing);
  DataSource stores;
  stores.dir = Path("a");
  for (const DataSource& source : {stores, Source("a", Path("a.txt"))}) {
    const absl::Status status = Prepare(Config({source})).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(absl::StrContains(status.message(), "a/val.h5")) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "two preparations")) << status;
  }
}

TEST_F(RunDataTest, AStoreWithoutItsTrainingPartIsPreparedAgain) {
  const RunConfig config = Config({Source("store", WriteText("a.txt", Documents("tea", 20)))});
  ASSERT_TRUE(Prepare(config).ok());
  const std::string store = *ReadFile(Path("store/train.h5"));
  fs::remove(Path("store/train.h5"));
  ASSERT_TRUE(Prepare(config).ok());
  EXPECT_TRUE(*ReadFile(Path("store/train.h5")) == store);
}

// Three mixtures of three sources, against a list of what each source gives one after another.
TEST_F(RunDataTest, StagesMixOtherSourcesAndContinueThem) {
  RunConfig config = Config({Source("a", WriteText("a.txt", Documents("tea", 30))),
                             Source("b", WriteText("b.txt", Documents("cup", 12)))});
  config.data.sources[0].weight = 3;
  config.data.sources[1].weight = 1;
  config.train.batch_tokens = 32;
  DataSource c = Source("c", WriteText("c.txt", Documents("pot", 15)));
  DataSource b;  // prepared once, and named again by another spelling of its folder
  b.dir = Path("b") + "/.";
  c.weight = 2;
  b.weight = 5;
  config.stages = {{.name = "one", .steps = 25},
                   {.name = "same", .steps = 7, .sources = config.data.sources},
                   {.name = "two", .steps = 30, .sources = {c, b}},
                   {.name = "three", .steps = 20}};
  ASSERT_EQ(SourcesOf(config).size(), 3u);
  EXPECT_EQ(SourcesOf(config)[2].key, "stages[2].sources[0]");
  const std::vector<Stage> stages = StagesOf(config);
  EXPECT_FALSE(stages[1].BeginsMixture());
  const auto data = Prepare(config);
  ASSERT_TRUE(data.ok()) << data.status();

  std::vector<std::unique_ptr<Sampler>> alone;  // each source, from its beginning
  for (int64_t i = 0; i < 3; ++i) {
    alone.push_back(
        Sampler::Make({{.store = data->stores[i], .source = i}},
                      {.seq_len = 8, .seed = config.run.seed, .boundary = DocumentBoundary::kReset})
            .value());
  }
  const std::vector<std::vector<double>> weights = {{3, 1}, {3, 1}, {2, 5}, {3, 1}};
  const std::vector<std::vector<int64_t>> sources = {{0, 1}, {0, 1}, {2, 1}, {0, 1}};
  std::vector<int64_t> next(3, 0);
  int64_t in_mixture = 0;
  for (const Stage& stage : stages) {
    const auto draws = MixtureSchedule::Make(weights[stage.index]).value();
    if (stage.index != 1) in_mixture = 0;
    for (int64_t step = stage.first_step; step < stage.end_step(); ++step) {
      Batch expected;
      for (int64_t k = 0; k < 4; ++k) {
        const int64_t source = sources[stage.index][draws.At(in_mixture++).source];
        const Batch sample = *alone[source]->Sample(next[source]++, 1);
        expected.tokens.insert(expected.tokens.end(), sample.tokens.begin(), sample.tokens.end());
      }
      ASSERT_EQ(data->stages[stage.index].sampler->Sample(stage.SampleAt(step), 4)->tokens,
                expected.tokens)
          << step;
    }
  }
  for (int64_t i = 0; i < 3; ++i) EXPECT_GT(next[i], alone[i]->num_samples(0)) << "no second epoch";
}

TEST_F(RunDataTest, AStageMayCrossDocuments) {
  RunConfig config = Config({Source("a", WriteText("a.txt", Documents("tea", 30)))});
  config.train.batch_tokens = 80;
  config.stages = {{.name = "one", .steps = 2},
                   {.name = "two", .steps = 2, .document_boundary = DocumentBoundary::kNone}};
  const auto data = Prepare(config);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_GT(data->stages[0].sampler->Sample(0, 20)->cu_seqlens.size(), 21u);
  EXPECT_EQ(data->stages[1].sampler->Sample(0, 20)->cu_seqlens.size(), 21u);
}

TEST_F(RunDataTest, NamesNeedNotBeUtf8) {
  const std::string text = WriteText("caf\xE9.txt", Documents("tea", 20));
  const RunConfig config = Config({Source("store", text)});
  const auto first = Prepare(config);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(Prepare(config).ok());
}

}  // namespace
}  // namespace wyvern
