// tokenizer.json: small ones, whose ids PyPI's tokenizers gave. tests/clients compares larger ones.
#include <chrono>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/tokenizer/byte_characters.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

using nlohmann::json;

class HfTokenizerTest : public DataTest {
 protected:
  // A byte-level BPE: the 256 bytes, some merges, and <|end|>.
  static json ByteLevel() {
    json vocab = json::object();
    for (size_t b = 0; b < 256; ++b) vocab[ByteCharacters()[b]] = b;
    json merges = json::array();
    for (const auto& [left, right] :
         std::vector<std::pair<std::string, std::string>>{{"h", "e"},
                                                          {"l", "l"},
                                                          {"he", "ll"},
                                                          {"hell", "o"},
                                                          {"Ġ", "hello"},
                                                          {"Ã", "©"},
                                                          {"1", "2"},
                                                          {"a", "a"}}) {
      vocab[left + right] = vocab.size();
      merges.push_back(absl::StrCat(left, " ", right));
    }
    return {
        {"version", "1.0"},
        {"added_tokens",
         {{{"id", vocab.size()},
           {"content", "<|end|>"},
           {"single_word", false},
           {"lstrip", false},
           {"rstrip", false},
           {"normalized", false},
           {"special", true}}}},
        {"normalizer", nullptr},
        {"pre_tokenizer",
         {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
        {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
        {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
  }

  absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const json& value) {
    return LoadTokenizer(WriteText("tokenizer.json", value.dump()));
  }
  // The message with which the file is refused.
  std::string Refusal(const json& value) {
    const auto tokenizer = Load(value);
    return tokenizer.ok() ? "" : std::string(tokenizer.status().message());
  }
};

TEST_F(HfTokenizerTest, BytesAreMergedAndComeBack) {
  const auto tokenizer = Load(ByteLevel());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->kind(), "tokenizer.json");
  EXPECT_EQ((*tokenizer)->vocab_size(), 265);
  EXPECT_EQ((*tokenizer)->Encode("hello hello\xc3\xa9<|end|>he"),
            std::vector<int32_t>({259, 260, 261, 264, 256}));
  std::string all;
  for (int b = 0; b < 128; ++b) all.push_back(static_cast<char>(b));
  for (const std::string& text : {all, std::string("  hello\n\n  12\t\xf0\x9f\x98\x80 "),
                                  std::string("<|end|><|end|"), std::string("")}) {
    EXPECT_EQ((*tokenizer)->Decode((*tokenizer)->Encode(text)), text);
  }
  // An error of UTF-8 is U+FFFD.
  EXPECT_EQ((*tokenizer)->Encode("a\xff"), (*tokenizer)->Encode("a\xef\xbf\xbd"));
  EXPECT_EQ((*tokenizer)->Decode({-1, 265, 1 << 30}), "");
}

TEST_F(HfTokenizerTest, MergesAreTextsOrPairs) {
  json pairs = ByteLevel();
  for (json& merge : pairs["model"]["merges"]) {
    const std::string text = merge;
    merge = {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
  }
  const auto one = Load(ByteLevel());
  const auto other = Load(pairs);
  ASSERT_TRUE(one.ok() && other.ok()) << other.status();
  EXPECT_EQ((*one)->Encode("hello 12aa"), (*other)->Encode("hello 12aa"));
  EXPECT_NE((*one)->hash(), (*other)->hash());
}

TEST_F(HfTokenizerTest, AModelMakesAnEqualTokenizerWithItsFiles) {
  WriteText("tokenizer_config.json", R"({"eos_token": {"content": "<|end|>"}, "bos_token": null})");
  WriteText("chat_template.jinja", "{{ messages }}");
  ASSERT_TRUE(Load(ByteLevel()).ok());
  const auto tokenizer = LoadTokenizer(Path(""));  // the folder
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->eos_id(), 264);
  EXPECT_EQ((*tokenizer)->bos_id(), std::nullopt);
  const auto again = MakeTokenizer((*tokenizer)->kind(), (*tokenizer)->model(), "the store");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->hash(), (*tokenizer)->hash());
  EXPECT_EQ((*again)->eos_id(), 264);
  EXPECT_EQ((*again)->files(), (*tokenizer)->files());
  EXPECT_EQ((*again)->files().at("chat_template.jinja"), "{{ messages }}");
  // The template has no part in the ids, the end of documents has.
  WriteText("chat_template.jinja", "{{ other }}");
  EXPECT_EQ((*LoadTokenizer(Path("")))->hash(), (*tokenizer)->hash());
  WriteText("tokenizer_config.json", R"({"eos_token": null})");
  EXPECT_NE((*LoadTokenizer(Path("")))->hash(), (*tokenizer)->hash());
  WriteText("tokenizer_config.json", R"({"eos_token": "</s>"})");
  EXPECT_TRUE(absl::StrContains(LoadTokenizer(Path("")).status().message(),
                                "eos_token: '</s>' is not a token"));
  const std::string model = (*tokenizer)->model();
  EXPECT_FALSE(MakeTokenizer("tokenizer.json", model.substr(0, model.size() - 1), "s").ok());
}

TEST_F(HfTokenizerTest, WhatIsUnknownIsNamedByItsPlace) {
  json value = ByteLevel();
  value["pre_tokenizer"] = {{"type", "Sequence"},
                            {"pretokenizers",
                             {{{"type", "Split"},
                               {"pattern", {{"Regex", "(a)\\1"}}},
                               {"behavior", "Isolated"},
                               {"invert", false}}}}};
  EXPECT_TRUE(absl::StrContains(Refusal(value),
                                "pre_tokenizer.pretokenizers[0].pattern.Regex: the pattern has an "
                                "escape before '\\1'"))
      << Refusal(value);
  value = ByteLevel();
  value["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", ""}};
  EXPECT_TRUE(absl::StrContains(Refusal(value), "normalizer.type: Wyvern has no"))
      << Refusal(value);
  value = ByteLevel();
  value["model"]["dropout"] = 0.1;
  EXPECT_TRUE(absl::StrContains(Refusal(value), "model.dropout")) << Refusal(value);
  value = ByteLevel();
  value["model"]["vocab"]["x "] = 7;
  EXPECT_TRUE(absl::StrContains(Refusal(value), "another token's id")) << Refusal(value);
  value = ByteLevel();
  value["model"]["merges"].push_back("q q");
  EXPECT_TRUE(absl::StrContains(Refusal(value), "model.merges[8]")) << Refusal(value);
  value = ByteLevel();
  value["added_tokens"][0]["id"] = 300;
  EXPECT_TRUE(absl::StrContains(Refusal(value), "added_tokens[0].id: 300, but")) << Refusal(value);
  value = ByteLevel();
  value["model"]["new_key"] = true;
  EXPECT_TRUE(absl::StrContains(Refusal(value), "model.new_key")) << Refusal(value);
}

// "0" and "00" have the same sum in both orders but for the rounding of what is before them.
TEST_F(HfTokenizerTest, ScoresAreRoundedAsTokenizersRoundsThem) {
  const json value = json::parse(R"({
      "pre_tokenizer": {"type": "Metaspace", "replacement": "▁"},
      "model": {"type": "Unigram", "unk_id": 0, "vocab": [
          ["<unk>", 0.0], ["▁", -2.4461176827240987], ["0", -6.283097486148251],
          ["00", -7.335769784250562], ["ছ", -9.41826919752993], ["α", -9.686126340433715]]}})");
  const auto tokenizer = Load(value);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->Encode("α000ছ"), std::vector<int32_t>({1, 5, 3, 2, 4}));
}

TEST_F(HfTokenizerTest, LongRunsTakeNoLongTime) {
  json value = ByteLevel();
  value["normalizer"] = {{"type", "NFC"}};
  const auto tokenizer = Load(value);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto start = std::chrono::steady_clock::now();
  std::string marks;
  for (int i = 0; i < 50000; ++i) marks += i % 2 == 0 ? "\xcc\x81" : "\xcc\xa3";
  EXPECT_EQ((*tokenizer)->Encode(std::string(200000, 'a')).size(), 100000u);
  EXPECT_EQ((*tokenizer)->Encode(std::string(200000, ' ')).size(), 200000u);
  EXPECT_EQ((*tokenizer)->Encode(marks).size(), 100000u);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 20);  // a quadratic way takes minutes
}

// A chain of `count` equal steps.
json Chain(const char* name, const json& step, int count) {
  json steps = json::array();
  for (int i = 0; i < count; ++i) steps.push_back(step);
  return {{"type", "Sequence"}, {name, steps}};
}

json Replace(const json& pattern, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", pattern}, {"content", content}};
}

TEST_F(HfTokenizerTest, ChainsThatMakeTextsEverLongerAreRefused) {
  const json doubles = Replace({{"String", "a"}}, "aa");
  json value = ByteLevel();
  value["normalizer"] = Chain("normalizers", doubles, 6);
  EXPECT_EQ(Refusal(value), "");
  value["normalizer"] = Chain("normalizers", doubles, 7);
  EXPECT_TRUE(absl::StrContains(Refusal(value), "normalizer: its steps can make a text 128 times"))
      << Refusal(value);
  // By way of another character, of a normal form, and of patterns.
  json forms = json::array();
  for (int i = 0; i < 6; ++i) {
    forms.push_back({{"type", "NFKD"}});
    forms.push_back(Replace({{"String", "ل"}}, "ﷺ"));
  }
  json joins = json::array();
  for (int i = 0; i < 7; ++i) {
    joins.push_back(Replace({{"String", "é"}}, "ee"));
    joins.push_back(Replace({{"String", "e"}}, "e\xcc\x81"));
    joins.push_back({{"type", "NFC"}});
  }
  for (const json& normalizer : {json({{"type", "Sequence"}, {"normalizers", forms}}),
                                 json({{"type", "Sequence"}, {"normalizers", joins}}),
                                 Chain("normalizers", Replace({{"Regex", "[ab]b*"}}, "bab"), 5),
                                 Chain("normalizers", Replace({{"Regex", "b*"}}, "x"), 40),
                                 Chain("normalizers", {{"type", "Prepend"}, {"prepend", "__"}}, 40),
                                 Chain("normalizers", {{"type", "NFC"}}, 257)}) {
    value["normalizer"] = normalizer;
    EXPECT_TRUE(absl::StrContains(Refusal(value), "normalizer: "))
        << normalizer.dump() << Refusal(value);
  }
  value = ByteLevel();
  value["pre_tokenizer"] = Chain("pretokenizers", value["pre_tokenizer"], 4);
  EXPECT_TRUE(absl::StrContains(Refusal(value), "pre_tokenizer: 4 steps that write"));
  value = ByteLevel();
  value["decoder"] = Chain("decoders", doubles, 7);
  EXPECT_TRUE(absl::StrContains(Refusal(value), "decoder: its steps can make a text 128 times"));
  const json spaces = {{"type", "Metaspace"}, {"replacement", "_"}};
  json turns = json::array();
  for (int i = 0; i < 7; ++i) {
    turns.push_back(Replace({{"String", " "}}, "__"));
    turns.push_back(spaces);
  }
  value["decoder"] = {{"type", "Sequence"}, {"decoders", turns}};
  EXPECT_TRUE(absl::StrContains(Refusal(value), "decoder: its steps can make a text 128 times"));
}

TEST_F(HfTokenizerTest, ChainsThatRealFilesHaveAreRead) {
  json steps = {{{"type", "NFKC"}},
                {{"type", "Lowercase"}},
                {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}},
                {{"type", "NFD"}}};
  for (const char* quote : {"``", "''", "“", "”", "«", "»", "„", "‟"}) {
    steps.push_back(Replace({{"String", quote}}, " \" "));
  }
  steps.push_back(Replace({{"Regex", " {2,}"}}, " "));
  steps.push_back(Replace({{"String", "\n"}}, "<newline>"));
  steps.push_back({{"type", "Prepend"}, {"prepend", "▁"}});
  steps.push_back(Replace({{"String", " "}}, "▁"));
  steps.push_back({{"type", "NFKC"}});
  json value = ByteLevel();
  value["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  EXPECT_EQ(Refusal(value), "");
}

}  // namespace
}  // namespace wyvern
