#include "trainer/evaluation/recall_task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "kernels/runtime/random.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

const Tokenizer& Bytes() {
  static const auto& tokenizer = *MakeByteTokenizer().release();
  return tokenizer;
}

RecallTaskOptions Options(RecallKind kind) {
  return {.kind = kind,
          .tokens = 2500,
          .samples = 6,
          .seed = 3,
          .essay = "One day a text began. It had few words!\n\"Was it long?\" Nobody\tknew.\n"};
}

std::vector<Json> Documents(const RecallTask& task) {
  std::vector<Json> documents;
  for (const absl::string_view line : absl::StrSplit(task.documents, '\n', absl::SkipEmpty())) {
    documents.push_back(Json::parse(line));
  }
  return documents;
}

size_t CountOf(const std::string& part, const std::string& text) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

RecallKind Kind(const std::string& name) { return *FindRecallKind(name); }

// The haystack fills the length, and the one needle of the asked key is in it.
TEST(RecallTask, NeedlesLieInAHaystackOfTheLength) {
  for (const std::string& name : RecallKindNames()) {
    if (name == "vt") continue;
    const auto task = MakeRecallTask(Options(Kind(name)), Bytes());
    ASSERT_TRUE(task.ok()) << name << ": " << task.status();
    EXPECT_EQ(task->name, name + "_2500");
    EXPECT_TRUE(absl::StrContains(task->yaml, "metric: contains")) << task->yaml;
    const std::vector<Json> documents = Documents(*task);
    ASSERT_EQ(documents.size(), 6u);
    std::set<std::string> keys;
    for (const Json& document : documents) {
      const auto input = document["input"].get<std::string>();
      const auto prefix = document["gen_prefix"].get<std::string>();
      const auto value = document["outputs"][0].get<std::string>();
      const size_t length = input.size() + 1 + prefix.size();
      EXPECT_EQ(document["length"], length);
      EXPECT_LE(length + 128, 2500u) << name;
      EXPECT_GE(length + 128, 2200u) << name;
      EXPECT_EQ(CountOf(value, input), 1u) << name;
      const bool is_uuid = absl::StrContains(prefix, "magic uuid ");
      EXPECT_EQ(value.size(), is_uuid ? 36u : 7u);
      const std::string begin =
          absl::StrCat("The special magic ", is_uuid ? "uuid" : "number", " for ");
      ASSERT_TRUE(absl::StartsWith(prefix, begin)) << prefix;
      const std::string key = prefix.substr(begin.size(), prefix.find(" mentioned") - begin.size());
      EXPECT_EQ(CountOf(absl::StrCat(" for ", key, " is: ", value, "."), input), 1u) << input;
      EXPECT_EQ(CountOf(absl::StrCat(" for ", key, " is: "), input), 1u) << input;
      EXPECT_TRUE(
          absl::EndsWith(input, absl::StrCat(" for ", key, " mentioned in the provided text?")));
      keys.insert(key);
      const size_t needles = CountOf("One of the special magic ", input);
      if (name == "niah_multikey_1") {
        EXPECT_EQ(needles, 4u);
      } else if (absl::StartsWith(name, "niah_multikey")) {
        EXPECT_GT(needles, 15u);
      } else {
        EXPECT_EQ(needles, 1u);
      }
    }
    EXPECT_EQ(keys.size(), 6u) << name;
  }
}

TEST(RecallTask, ChainsOfVariablesEndInTheValue) {
  const auto task = MakeRecallTask(Options(RecallKind::kVariables), Bytes());
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_TRUE(absl::StrContains(task->yaml, "metric: word_recall")) << task->yaml;
  for (const Json& document : Documents(*task)) {
    const auto input = document["input"].get<std::string>();
    EXPECT_LE(document["length"].get<int64_t>() + 30, 2500);
    EXPECT_GE(document["length"].get<int64_t>() + 30, 2200);
    const auto names = document["outputs"].get<std::vector<std::string>>();
    ASSERT_EQ(names.size(), 5u);
    const size_t value = input.rfind("the value ") + 10;
    std::string before = absl::StrCat("VAR ", names[0], " = ", input.substr(value, 5), " ");
    EXPECT_EQ(CountOf(before, input), 1u) << input;
    for (size_t i = 1; i < names.size(); ++i) {
      const std::string next = absl::StrCat("VAR ", names[i], " = VAR ", names[i - 1], " ");
      EXPECT_EQ(CountOf(next, input), 1u) << input;
      EXPECT_LT(input.find(before), input.find(next));
      before = next;
    }
    // The answered example stands before it.
    EXPECT_EQ(CountOf("Memorize and track", input), 2u);
    EXPECT_EQ(CountOf("they are: ", input), 1u);
    EXPECT_TRUE(absl::EndsWith(document["gen_prefix"].get<std::string>(), "they are:"));
  }
}

// The same bytes on every machine: these are those of the first one that made them.
TEST(RecallTask, BytesAreAFunctionOfTheSeed) {
  uint64_t hash = 0;
  for (const std::string& name : RecallKindNames()) {
    RecallTaskOptions options = Options(Kind(name));
    const auto one = MakeRecallTask(options, Bytes()), same = MakeRecallTask(options, Bytes());
    options.samples = 2;
    const auto fewer = MakeRecallTask(options, Bytes());
    options.seed = 4;
    const auto other = MakeRecallTask(options, Bytes());
    ASSERT_TRUE(one.ok() && same.ok() && fewer.ok() && other.ok()) << one.status();
    EXPECT_EQ(one->documents, same->documents);
    EXPECT_TRUE(absl::StartsWith(one->documents, fewer->documents)) << name;
    EXPECT_NE(fewer->documents, other->documents);
    hash = HashName(absl::StrCat(hash, one->documents, one->yaml));
  }
  EXPECT_EQ(hash, 2597770426249441357u);
}

TEST(RecallTask, RefusesWhatDoesNotFit) {
  RecallTaskOptions options = Options(RecallKind::kMultiKey3);
  options.tokens = 300;
  EXPECT_EQ(MakeRecallTask(options, Bytes()).status().message(),
            "300 tokens are too few for a question of niah_multikey_3 and 128 tokens of an answer; "
            "take more");
  options = Options(RecallKind::kSingle2);
  options.essay = " \n";
  EXPECT_TRUE(absl::StrContains(MakeRecallTask(options, Bytes()).status().message(),
                                "give a text of words for it"));
  options.essay = "a \xff b";
  EXPECT_TRUE(absl::StrContains(MakeRecallTask(options, Bytes()).status().message(), "not UTF-8"));
  EXPECT_TRUE(absl::StrContains(FindRecallKind("niah").status().message(), "got 'niah'"));
}

}  // namespace
}  // namespace wyvern
