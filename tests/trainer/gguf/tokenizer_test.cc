#include "trainer/gguf/tokenizer.h"

#include <gtest/gtest.h>

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "data/tokenizer/tokenizer_training.h"
#include "tests/trainer/hf/hf_models.h"
#include "trainer/gguf/vocabulary.h"

namespace wyvern {
namespace {

class GgufTokenizerTest : public testing::Test {
 protected:
  // A tokenizer.json of 260 tokens, with changes to its text.
  std::unique_ptr<Tokenizer> Trained(
      const std::vector<std::pair<const char*, const char*>>& changes,
      const std::string& pattern = "llama3") const {
    TokenizerTrainOptions options;
    EXPECT_TRUE(WriteFileAtomically(folder_ / "corpus.txt", "the rule the rule the").ok());
    options.sources = {{.paths = {folder_ / "corpus.txt"}}};
    options.is_byte_level = true;
    options.byte_level.pattern = pattern;
    options.byte_level.bos = "<s>";
    options.vocab_size = 260;
    options.num_threads = 1;
    options.output = folder_ / pattern + "/tokenizer.json";
    EXPECT_TRUE(TrainTokenizer(options).ok());
    const std::string text = absl::StrReplaceAll(*ReadFile(options.output), changes);
    EXPECT_TRUE(WriteFileAtomically(options.output, text).ok());
    auto tokenizer = LoadTokenizer(options.output);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return std::move(*tokenizer);
  }

  const TemporaryFolder folder_;
};

std::map<std::string, GgufValue> KeysOf(const absl::StatusOr<GgufTokenizer>& made) {
  EXPECT_TRUE(made.ok()) << made.status();
  return {made->metadata.begin(), made->metadata.end()};
}

TEST_F(GgufTokenizerTest, KeysOfATokenizerOfBytes) {
  const auto tokenizer = MakeByteTokenizer();
  const auto keys = KeysOf(MakeGgufTokenizer(*tokenizer, {.vocab_size = 259,
                                                          .padding_id = 258,
                                                          .add_bos = true,
                                                          .chat_template = "{{ x }}",
                                                          .end_of_turn_id = 3}));
  EXPECT_EQ(keys.at("tokenizer.ggml.model"), GgufValue("gpt2"));
  EXPECT_EQ(keys.at("tokenizer.ggml.pre"), GgufValue("gpt-2"));
  EXPECT_EQ(keys.at("tokenizer.ggml.bos_token_id"), GgufValue(uint32_t{256}));
  EXPECT_EQ(keys.at("tokenizer.ggml.eos_token_id"), GgufValue(uint32_t{257}));
  EXPECT_EQ(keys.at("tokenizer.ggml.eot_token_id"), GgufValue(uint32_t{3}));
  EXPECT_EQ(keys.at("tokenizer.ggml.padding_token_id"), GgufValue(uint32_t{258}));
  EXPECT_EQ(keys.at("tokenizer.ggml.add_bos_token"), GgufValue(true));
  EXPECT_EQ(keys.at("tokenizer.ggml.add_eos_token"), GgufValue(false));
  EXPECT_EQ(keys.at("tokenizer.chat_template"), GgufValue("{{ x }}"));
  const auto tokens = std::get<std::vector<std::string>>(keys.at("tokenizer.ggml.tokens"));
  const auto types = std::get<std::vector<int32_t>>(keys.at("tokenizer.ggml.token_type"));
  ASSERT_EQ(tokens.size(), 259u);
  EXPECT_EQ(tokens[' '], "\xc4\xa0");
  EXPECT_EQ(tokens[258], "[PAD258]");
  EXPECT_EQ(types[0], 1);
  EXPECT_EQ(types[257], 3);
  EXPECT_EQ(types[258], 5);
}

TEST_F(GgufTokenizerTest, WhatLlamaCppHasNoPlaceForIsRefused) {
  const auto refusal = [](const Tokenizer& tokenizer) {
    const absl::Status status = MakeGgufTokenizer(tokenizer, {.vocab_size = 300}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "--no-tokenizer leaves it out")) << status;
    return std::string(status.message());
  };
  EXPECT_TRUE(absl::StrContains(refusal(*Trained({}, "cl100k")),
                                "llama.cpp knows the patterns gpt2, llama3, qwen, o200k and kimi"));
  EXPECT_TRUE(absl::StrContains(
      refusal(*Trained({{"\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}"}})),
      "a normalizer other than NFC"));
  EXPECT_TRUE(absl::StrContains(refusal(*Trained({{"\"Isolated\"", "\"MergedWithPrevious\""}})),
                                "not a pattern with ByteLevel behind it"));
  // A message without a trainer's part is of unigram.
  EXPECT_TRUE(absl::StrContains(SentencePieceVocabulary("").status().message(),
                                "it is not of BPE, and llama.cpp's unigram has no byte_fallback"));
  const absl::Status few = MakeGgufTokenizer(*MakeByteTokenizer(), {.vocab_size = 257}).status();
  EXPECT_TRUE(absl::StrContains(few.message(), "has 258 tokens, the model 257")) << few;
}

TEST_F(GgufTokenizerTest, ANormalFormOfUnicodeIsAWarning) {
  const auto tokenizer = Trained({{"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}"}});
  const auto made = MakeGgufTokenizer(*tokenizer, {.vocab_size = 300});
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->warnings.size(), 1u);
  EXPECT_TRUE(absl::StrContains(made->warnings[0], "NFC")) << made->warnings[0];
}

TEST_F(GgufTokenizerTest, WhetherBosComesFirstIsSaidByTheFiles) {
  EXPECT_FALSE(*TokenizerAddsBos(*MakeByteTokenizer()));
  const auto plain = Trained({});
  EXPECT_FALSE(*TokenizerAddsBos(*plain));
  const std::string config = folder_ / "llama3/tokenizer_config.json";
  nlohmann::json with = *ReadJsonFile(config);
  with["add_bos_token"] = true;
  ASSERT_TRUE(WriteFileAtomically(config, JsonText(with)).ok());
  EXPECT_TRUE(*TokenizerAddsBos(**LoadTokenizer(folder_ / "llama3/tokenizer.json")));
  with.erase("add_bos_token");
  ASSERT_TRUE(WriteFileAtomically(config, JsonText(with)).ok());
  const std::string path = folder_ / "llama3/tokenizer.json";
  nlohmann::json file = *ReadJsonFile(path);
  file["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single",
                             {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
                            {"pair", nlohmann::json::array()},
                            {"special_tokens", nlohmann::json::object()}};
  ASSERT_TRUE(WriteFileAtomically(path, JsonText(file)).ok());
  EXPECT_TRUE(*TokenizerAddsBos(**LoadTokenizer(path)));
}

}  // namespace
}  // namespace wyvern
