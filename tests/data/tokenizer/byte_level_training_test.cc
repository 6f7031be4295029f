// Trained tokenizer.json files. tests/clients compares them with those of PyPI's tokenizers.
#include "data/tokenizer/byte_level_training.h"

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/tokenizer/bpe_trainer.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_training.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class ByteLevelTrainingTest : public DataTest {
 protected:
  TokenizerTrainOptions Options() const {
    std::string text;
    for (int i = 0; i < 200; ++i) {
      absl::StrAppend(&text, "{\"text\": \"the ", i % 17, "th rule erases, then writes ", i % 5,
                      " states of memory; a decay gives each channel ", i, "\\n\"}\n");
    }
    TokenizerTrainOptions options;
    options.sources = {{.paths = {WriteText("corpus.jsonl", text)}}};
    options.output = Path("made/tokenizer.json");
    options.is_byte_level = true;
    options.byte_level = {.bos = "<|begin|>",
                          .eos = "<|endoftext|>",
                          .pad = "",
                          .specials = {"<|im_start|>", "<|im_end|>"}};
    options.vocab_size = 300;
    options.num_threads = 1;
    return options;
  }
};

// The tokens that merges made, in their order.
std::vector<std::string> Joined(const TrainedBpe& trained) {
  std::vector<std::string> joined;
  for (const auto& [left, right] : trained.merges) {
    joined.push_back(trained.tokens[static_cast<size_t>(left)] + "+" +
                     trained.tokens[static_cast<size_t>(right)]);
  }
  return joined;
}

TEST(TrainBpe, JoinsTheMostFrequentPairAndOfEqualOnesTheLowest) {
  const TrainedBpe trained =
      TrainBpe({{"low", 5}, {"lower", 2}, {"newest", 6}, {"widest", 3}}, {"<s>"}, 257 + 6);
  // es and st are there 9 times; e has a lower id than s.
  EXPECT_EQ(Joined(trained),
            std::vector<std::string>({"e+s", "es+t", "l+o", "lo+w", "e+w", "n+ew"}));
  EXPECT_EQ(trained.tokens[0], "<s>");
  EXPECT_EQ(trained.tokens[1], "!");
  EXPECT_EQ(trained.tokens.size(), 263u);
}

TEST(TrainBpe, EndsWhereNothingIsLeftToJoin) {
  const TrainedBpe trained = TrainBpe({{"aaaaa", 2}, {"b", 100}, {"", 7}}, {}, 1000);
  // The pair of a and a is counted wherever it begins, and joined from the left.
  EXPECT_EQ(Joined(trained), std::vector<std::string>({"a+a", "aa+a", "aa+aaa"}));
  EXPECT_EQ(trained.tokens.size(), 259u);
  EXPECT_TRUE(TrainBpe({}, {}, 1000).merges.empty());
}

TEST_F(ByteLevelTrainingTest, TrainedFilesGiveBackAnyText) {
  for (const char* pattern : {"gpt2", "cl100k", "o200k", "llama3", "qwen", "kimi"}) {
    TokenizerTrainOptions options = Options();
    options.byte_level.pattern = pattern;
    const auto result = TrainTokenizer(options);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto tokenizer = LoadTokenizer(Path("made"));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_EQ((*tokenizer)->hash(), result->hash);
    EXPECT_EQ((*tokenizer)->vocab_size(), 300);
    EXPECT_EQ((*tokenizer)->bos_id(), 0);
    EXPECT_EQ((*tokenizer)->eos_id(), 1);
    EXPECT_EQ((*tokenizer)->Encode("<|im_start|><|im_end|>"), std::vector<int32_t>({2, 3}));
    EXPECT_LE((*tokenizer)->Encode(" rule").size(), 2u) << pattern;
    for (const std::string& text :
         {std::string("the 3rd rule's  states\r\n\n\t12345"),
          std::string("Ωμέγα 漢字 🜁<|im_end|> \xc2\xa0"), std::string("zero \0 byte", 11)}) {
      EXPECT_EQ((*tokenizer)->Decode((*tokenizer)->Encode(text)), text) << pattern;
    }
  }
}

TEST_F(ByteLevelTrainingTest, ThreadsDoNotMatterAndPatternsDo) {
  std::vector<std::string> documents;
  for (int i = 0; i < 300; ++i) {
    documents.push_back(absl::StrCat("it's ", i * 37 % 91, " and ", i % 13, " of\n\n", i * i));
  }
  ByteLevelOptions options;
  const auto one = TrainByteLevel(documents, 264, options, 1);
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(*TrainByteLevel(documents, 264, options, 3), *one);
  options.pattern = "qwen";
  EXPECT_NE(*TrainByteLevel(documents, 264, options, 1), *one);
}

TEST_F(ByteLevelTrainingTest, TheSampleIsOfDocuments) {
  TokenizerTrainOptions options = Options();
  options.vocab_size = 270;
  options.max_sample_bytes = 3000;
  const auto result = TrainTokenizer(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->text_bytes, 7000);
  EXPECT_LE(result->sample_bytes, 3000);
  EXPECT_GT(result->sample_bytes, 700);
  options.max_sample_bytes = 10;
  EXPECT_TRUE(absl::StrContains(TrainTokenizer(options).status().message(), "max_sample_bytes"));
}

TEST_F(ByteLevelTrainingTest, AnotherTokenizersConfigurationStays) {
  ASSERT_TRUE(TrainTokenizer(Options()).ok());
  ASSERT_TRUE(TrainTokenizer(Options()).ok());  // the same one is made again
  TokenizerTrainOptions options = Options();
  options.byte_level.eos = "<|end|>";
  const auto refused = TrainTokenizer(options);
  EXPECT_TRUE(absl::StrContains(refused.status().message(), "tokenizer_config.json: is there"))
      << refused.status();
  EXPECT_EQ((*LoadTokenizer(Path("made")))->eos_id(), 1);
}

TEST_F(ByteLevelTrainingTest, BadOptionsAreRefused) {
  const auto message = [this](const std::function<void(TokenizerTrainOptions*)>& change) {
    TokenizerTrainOptions options = Options();
    change(&options);
    return std::string(TrainTokenizer(options).status().message());
  };
  EXPECT_TRUE(absl::StrContains(message([](auto* o) { o->byte_level.pattern = "gpt5"; }),
                                "pattern: expected one of gpt2, cl100k"));
  EXPECT_TRUE(absl::StrContains(
      message([](auto* o) { o->byte_level.specials.push_back("<|begin|>"); }), "twice"));
  EXPECT_TRUE(
      absl::StrContains(message([](auto* o) { o->byte_level.specials = {""}; }), "is empty"));
  EXPECT_TRUE(
      absl::StrContains(message([](auto* o) { o->byte_level.specials = {"\xff"}; }), "UTF-8"));
  EXPECT_TRUE(absl::StrContains(message([](auto* o) { o->vocab_size = 260; }),
                                "vocab_size: expected more than 260 (4 special ids"));
  EXPECT_TRUE(absl::StrContains(message([](auto* o) { o->vocab_size = 50000; }),
                                "vocab_size: the text gives only"));
  EXPECT_TRUE(absl::StrContains(message([](auto* o) { o->type = TokenizerType::kUnigram; }),
                                "only bpe can be of bytes"));
  EXPECT_FALSE(std::filesystem::exists(Path("made/tokenizer.json")));
}

}  // namespace
}  // namespace wyvern
