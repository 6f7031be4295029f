#include "data/tokenizer/token_bytes.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "data/tokenizer/sentencepiece_tokenizer.h"
#include "data/tokenizer/tokenizer_training.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class TokenBytesTest : public DataTest {
 protected:
  // The bytes of all tokens of a text that stands behind the end of another.
  static int64_t Sum(const Tokenizer& tokenizer, const std::string& text) {
    const TokenBytes bytes(tokenizer);
    int32_t previous = *tokenizer.eos_id();
    int64_t sum = 0;
    for (const int32_t id : tokenizer.Encode(text)) {
      sum += bytes.Count(previous, id);
      previous = id;
    }
    return sum + bytes.Count(previous, *tokenizer.eos_id());
  }

  static std::vector<std::string> Texts() {
    std::vector<std::string> texts = {"",
                                      " ",
                                      "the king went unto the waters",
                                      "  two spaces,  and two ",
                                      "\nlines\n\n\tand tabs ",
                                      "Gr\u00fc\u00dfe, \u4f60\u597d, \U0001f409 delta"};
    std::string mixed;
    for (int i = 0; i < 200; ++i)
      absl::StrAppend(&mixed, i * 7919 % 1000, i % 3 ? " the " : "\u20ac");
    texts.push_back(mixed);
    return texts;
  }

  std::string TrainedModel(TokenizerType type) {
    std::string text;
    for (int i = 0; i < 300; ++i) {
      absl::StrAppend(&text, i % 2 ? "the king" : "a shepherd", " went unto the ",
                      i % 3 ? "waters" : "city", "\n");
    }
    TokenizerTrainOptions options;
    options.sources = {{.paths = {WriteText("corpus.txt", text)}}};
    options.output = Path(absl::StrCat(Name(type), ".model"));
    options.type = type;
    options.vocab_size = type == TokenizerType::kBpe ? 300 : 280;
    options.num_threads = 1;
    const auto trained = TrainTokenizer(options);
    EXPECT_TRUE(trained.ok()) << trained.status();
    return *ReadFile(options.output);
  }
};

TEST_F(TokenBytesTest, AddUpToTheText) {
  const auto byte = MakeByteTokenizer();
  std::string all(256, 0);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(Sum(*byte, all), 256);
  for (const TokenizerType type : {TokenizerType::kBpe, TokenizerType::kUnigram}) {
    const auto pieces = MakeSentencePieceTokenizer(TrainedModel(type), "test");
    ASSERT_TRUE(pieces.ok()) << pieces.status();
    for (const std::string& text : Texts()) {
      EXPECT_EQ(Sum(*byte, text), static_cast<int64_t>(text.size())) << text;
      ASSERT_EQ((*pieces)->Decode((*pieces)->Encode(text)), text);
      EXPECT_EQ(Sum(**pieces, text), static_cast<int64_t>(text.size())) << text;
    }
  }
}

// The space that such a model puts before every text is no byte of it.
TEST_F(TokenBytesTest, ADummyPrefixIsNotCounted) {
  // Protocol buffers merge: this sets normalizer_spec.add_dummy_prefix.
  const std::string model = TrainedModel(TokenizerType::kBpe) + std::string("\x1a\x02\x18\x01", 4);
  const auto pieces = MakeSentencePieceTokenizer(model, "test");
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  const std::vector<int32_t> ids = (*pieces)->Encode("the");
  ASSERT_EQ((*pieces)->BytesOf(ids[0])[0], ' ');
  for (const std::string& text : Texts()) {
    EXPECT_EQ(Sum(**pieces, text), static_cast<int64_t>(text.size())) << text;
  }
}

TEST_F(TokenBytesTest, SpecialAndForeignIdsHaveNone) {
  const auto byte = MakeByteTokenizer();
  const TokenBytes bytes(*byte);
  for (const int32_t id : {256, 257, 258, 100000, -1, -100}) EXPECT_EQ(bytes.Count('a', id), 0);
  EXPECT_EQ(bytes.Count(-1, 'a'), 1);
}

}  // namespace
}  // namespace wyvern
