// Files of tiktoken. tests/clients compares their ids with tiktoken's own.
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class TiktokenTokenizerTest : public DataTest {
 protected:
  // The 256 bytes, and some tokens.
  static std::string Ranks() {
    std::string text;
    int rank = 0;
    const auto add = [&](const std::string& token) {
      absl::StrAppend(&text, absl::Base64Escape(token), " ", rank++, "\n");
    };
    for (int b = 0; b < 256; ++b) add(std::string(1, static_cast<char>(b)));
    for (const char* const token : {"ab", "bc", "abc", " a", "\xe4\xb8", "\xe4\xb8\xad"})
      add(token);
    return text;
  }
};

TEST_F(TiktokenTokenizerTest, TheLowestRankIsJoinedFirst) {
  const std::string path = WriteText("kimi.tiktoken", Ranks());
  WriteText("tokenizer_config.json",
            R"({"added_tokens_decoder": {"300": {"content": "[EOS]"}, "262": {"content": "[BOS]"}},
                "eos_token": "[EOS]"})");
  const auto tokenizer = LoadTokenizer(path, {.pattern = "kimi"});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->kind(), "tiktoken");
  EXPECT_EQ((*tokenizer)->vocab_size(), 301);
  EXPECT_EQ((*tokenizer)->eos_id(), 300);
  EXPECT_EQ((*tokenizer)->bos_id(), 262);
  EXPECT_EQ((*tokenizer)->Encode("abcbc a"), std::vector<int32_t>({258, 257, 259}));
  // Han letters are a part of their own, and an end of document that stands in the text is its
  // token.
  EXPECT_EQ((*tokenizer)->Encode("a\xe4\xb8\xad[EOS]"), std::vector<int32_t>({'a', 261, 300}));
  const std::string text = "abc \xe4\xb8\xad\n\n x";
  EXPECT_EQ((*tokenizer)->Decode((*tokenizer)->Encode(text)), text);

  const auto again = MakeTokenizer("tiktoken", (*tokenizer)->model(), "the store");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->hash(), (*tokenizer)->hash());
  EXPECT_EQ((*again)->Encode(text), (*tokenizer)->Encode(text));
  const auto other = LoadTokenizer(path, {.eos = "[BOS]", .pattern = "kimi"});
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ((*other)->eos_id(), 262);
  EXPECT_NE((*other)->hash(), (*tokenizer)->hash());
  EXPECT_EQ((*LoadTokenizer(path, {.eos = "none", .pattern = "kimi"}))->eos_id(), std::nullopt);
}

TEST_F(TiktokenTokenizerTest, BadFilesAndSettingsAreRefused) {
  const auto refusal = [this](const std::string& content, const TokenizerSettings& settings) {
    return std::string(
        LoadTokenizer(WriteText("a.tiktoken", content), settings).status().message());
  };
  EXPECT_TRUE(absl::StrContains(refusal(Ranks(), {}), "name its pattern, one of gpt2, cl100k"));
  EXPECT_TRUE(absl::StrContains(refusal(Ranks(), {.pattern = "gpt3"}), "got 'gpt3'"));
  EXPECT_TRUE(absl::StrContains(refusal(Ranks(), {.eos = "</s>", .pattern = "gpt2"}),
                                "'</s>' is not a token"));
  EXPECT_TRUE(absl::StrContains(refusal("YQ== 0\n", {.pattern = "gpt2"}), "256 bytes"));
  EXPECT_TRUE(absl::StrContains(refusal(Ranks() + "YQ== x\n", {.pattern = "gpt2"}), "line 263"));
  EXPECT_TRUE(absl::StrContains(refusal(Ranks() + "YQ== 900\n", {.pattern = "gpt2"}), "line 263"));
  // At one byte and at many beyond the limit.
  for (const size_t bytes : {size_t{4097}, size_t{1} << 20}) {
    const std::string long_token = absl::Base64Escape(std::string(bytes, 'a'));
    EXPECT_TRUE(
        absl::StrContains(refusal(absl::StrCat(Ranks(), long_token, " 900\n"), {.pattern = "gpt2"}),
                          "line 263: the token is longer than 4096 bytes"));
  }
  EXPECT_TRUE(absl::StrContains(LoadTokenizer("byte", {.pattern = "gpt2"}).status().message(),
                                "has no effect"));
}

}  // namespace
}  // namespace wyvern
