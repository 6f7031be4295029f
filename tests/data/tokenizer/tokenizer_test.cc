#include "data/tokenizer/tokenizer.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "data/tokenizer/tokenizer_training.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class TokenizerTest : public DataTest {
 protected:
  // A corpus of a small grammar, whose words a trainer soon finds.
  std::string WriteCorpus(int lines) {
    const std::vector<std::string> who = {"the king", "a shepherd", "the prophet", "her brother"};
    const std::vector<std::string> did = {"went unto", "spoke of", "remembered", "numbered"};
    const std::vector<std::string> what = {"the city", "the waters", "seven lambs", "his people"};
    std::string text;
    for (int i = 0; i < lines; ++i) {
      absl::StrAppend(&text, who[i % 4], " ", did[i / 3 % 4], " ", what[i / 7 % 4], ".\n");
    }
    return WriteText("corpus.txt", text);
  }

  TokenizerTrainOptions Options(TokenizerType type) {
    TokenizerTrainOptions options;
    options.sources = {{.paths = {WriteCorpus(400)}}};
    options.output = Path(absl::StrCat(Name(type), ".model"));
    options.type = type;
    options.vocab_size = type == TokenizerType::kBpe ? 340 : 295;
    options.num_threads = 1;
    return options;
  }
};

TEST_F(TokenizerTest, BytesComeBackExactly) {
  const std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
  EXPECT_EQ(tokenizer->vocab_size(), 258);
  EXPECT_EQ(tokenizer->bos_id(), 256);
  EXPECT_EQ(tokenizer->eos_id(), 257);
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const std::vector<int32_t> ids = tokenizer->Encode(all);
  EXPECT_EQ(ids.back(), 255);
  EXPECT_EQ(tokenizer->Decode(ids), all);
  EXPECT_EQ(tokenizer->Decode({256, 'a', 257, 999, -3, 'b'}), "ab");
}

TEST_F(TokenizerTest, TrainedModelsGiveBackAnyText) {
  for (const TokenizerType type : {TokenizerType::kBpe, TokenizerType::kUnigram}) {
    const auto result = TrainTokenizer(Options(type));
    ASSERT_TRUE(result.ok()) << Name(type) << result.status();
    const auto tokenizer = LoadTokenizer(result->path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_EQ((*tokenizer)->hash(), result->hash);
    EXPECT_EQ((*tokenizer)->vocab_size(), result->vocab_size);
    EXPECT_EQ((*tokenizer)->bos_id(), 1);
    EXPECT_EQ((*tokenizer)->eos_id(), 2);
    const std::vector<std::string> texts = {
        "the king went unto the waters.",
        " leading, trailing and  double  spaces ",
        "lines\nand\n\nblank lines\n\tand a tab\r\n",
        "never seen: Ωμέγα 漢字 🜁 1234",
        std::string("a zero byte \0 inside", 20),
        "",
    };
    for (const std::string& text : texts) {
      const std::vector<int32_t> ids = (*tokenizer)->Encode(text);
      EXPECT_EQ((*tokenizer)->Decode(ids), text) << Name(type);
      for (const int32_t id : ids) {
        EXPECT_GT(id, 2) << "a special id for '" << text << "'";
        EXPECT_LT(id, (*tokenizer)->vocab_size());
      }
    }
    EXPECT_LT((*tokenizer)->Encode(texts[0]).size(), texts[0].size()) << Name(type);
    EXPECT_EQ((*tokenizer)->Decode({2, 1, 100000, -5}), "");

    // The same text and options: the same model, to the byte; in a folder that is made for it.
    TokenizerTrainOptions again = Options(type);
    again.output = Path("not/there/again.model");
    ASSERT_TRUE(TrainTokenizer(again).ok());
    EXPECT_EQ(*ReadFile(again.output), *ReadFile(result->path));
  }
}

TEST_F(TokenizerTest, TheSampleIsBounded) {
  TokenizerTrainOptions options = Options(TokenizerType::kBpe);
  options.vocab_size = 300;
  options.max_sample_bytes = 4000;
  const auto result = TrainTokenizer(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->text_bytes, 10000);
  EXPECT_LE(result->sample_bytes, 4000);
  EXPECT_GT(result->sample_bytes, 1000);
}

TEST_F(TokenizerTest, EverySourceIsReadInItsOwnWay) {
  const std::string text = WriteCorpus(200);
  std::string json;
  for (int i = 0; i < 200; ++i) {
    absl::StrAppend(&json, "{\"text\": \"wrong wrong\", \"content\": \"alphabeta zeta\"}\n");
  }
  TokenizerTrainOptions options = Options(TokenizerType::kBpe);
  options.sources = {{.paths = {text}},
                     {.paths = {WriteText("code.jsonl", json)}, .field = "content"}};
  const auto result = TrainTokenizer(options);
  ASSERT_TRUE(result.ok()) << result.status();
  const auto tokenizer = LoadTokenizer(result->path);
  EXPECT_LE((*tokenizer)->Encode("alphabeta").size(), 2u);
  EXPECT_LE((*tokenizer)->Encode(" shepherd").size(), 3u);
  EXPECT_GE((*tokenizer)->Encode("wrong").size(), 4u);
}

TEST_F(TokenizerTest, BadModelsAreRefused) {
  const auto result = TrainTokenizer(Options(TokenizerType::kBpe));
  ASSERT_TRUE(result.ok());
  const std::string model = *ReadFile(result->path);
  // <unk> and a piece that begins with a zero byte, at which the library throws.
  const std::string empty_piece("\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02\n\x0c\n\x03\0s>e\"ti\x01 \0",
                                30);
  for (const std::string& bad :
       {std::string(), std::string("no model at all, only text"), empty_piece,
        model.substr(0, model.size() / 2), model.substr(0, 100)}) {
    const auto tokenizer = LoadTokenizer(WriteText("bad.model", bad));
    EXPECT_FALSE(tokenizer.ok()) << bad.size();
    EXPECT_TRUE(absl::StrContains(tokenizer.status().message(), "bad.model")) << tokenizer.status();
  }
  EXPECT_EQ(LoadTokenizer(Path("none.model")).status().code(), absl::StatusCode::kNotFound);
  const auto json = LoadTokenizer(WriteText("tokenizer.json", "{\"version\": \"1.0\"}"));
  EXPECT_TRUE(absl::StrContains(
      json.status().message(), "tokenizer.json: JSON, but no tokenizer.json: it has no \"model\""));
  const auto other = LoadTokenizer(WriteText("bad.model", "no model at all"));
  EXPECT_FALSE(absl::StrContains(other.status().message(), ".cc(")) << other.status();
}

TEST_F(TokenizerTest, BadOptionsAreRefused) {
  TokenizerTrainOptions options = Options(TokenizerType::kBpe);
  options.vocab_size = 100000;
  const auto large = TrainTokenizer(options);
  EXPECT_TRUE(absl::StrContains(large.status().message(), "100000")) << large.status();
  EXPECT_FALSE(std::filesystem::exists(options.output));
  options.vocab_size = 262;  // no room for the characters
  EXPECT_FALSE(TrainTokenizer(options).ok());
  options.vocab_size = 100;
  EXPECT_FALSE(TrainTokenizer(options).ok());
  options = Options(TokenizerType::kByte);
  EXPECT_TRUE(absl::StrContains(TrainTokenizer(options).status().message(), "unigram"));
  options = Options(TokenizerType::kBpe);
  options.sources = {{.paths = {WriteText("empty.txt", "")}}};
  EXPECT_TRUE(absl::StrContains(TrainTokenizer(options).status().message(), "no text"));
}

}  // namespace
}  // namespace wyvern
