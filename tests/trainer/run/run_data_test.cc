#include "trainer/run/run_data.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
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

TEST_F(RunDataTest, NamesNeedNotBeUtf8) {
  const std::string text = WriteText("caf\xE9.txt", Documents("tea", 20));
  const RunConfig config = Config({Source("store", text)});
  const auto first = Prepare(config);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(Prepare(config).ok());
}

}  // namespace
}  // namespace wyvern
