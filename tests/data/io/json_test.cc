#include "data/io/json.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace wyvern {
namespace {

std::string Nested(int depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(JsonTest, TheDepthIsBounded) {
  EXPECT_TRUE(ParseJson(Nested(kMaxJsonDepth), "a.json").ok());
  const auto deep = ParseJson(Nested(200000), "a.json");
  ASSERT_FALSE(deep.ok());
  EXPECT_EQ(deep.status().message(),
            "a.json: byte 65: the JSON is nested too deeply; at most 64 levels are read");
}

TEST(JsonTest, BracketsInStringsDoNotCount) {
  EXPECT_TRUE(
      ParseJson("\"" + std::string(100, '[') + "\\\"" + std::string(100, '{') + "\"", "a").ok());
}

TEST(JsonTest, ErrorsNameTheOriginAndTheByte) {
  for (const std::string bad : {"{", "", "[1,]", "{\"a\":1} x", "\"\xff\"", "1e999"}) {
    const auto value = ParseJson(bad, "folder/b.json");
    ASSERT_FALSE(value.ok()) << bad;
    EXPECT_EQ(value.status().message().substr(0, 15), "folder/b.json: ") << bad;
  }
}

TEST(JsonTest, PipesAndFoldersAreNoFiles) {
  const std::string pipe = testing::TempDir() + "json_test_pipe";
  unlink(pipe.c_str());
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(ReadJsonFile(pipe).status().message(), pipe + ": not a file");
  EXPECT_FALSE(ReadJsonFile(testing::TempDir()).ok());
  unlink(pipe.c_str());
}

TEST(JsonTest, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(JsonText(nlohmann::json{{"name", "caf\xe9"}}), "{\"name\":\"caf\xef\xbf\xbd\"}");
}

}  // namespace
}  // namespace wyvern
