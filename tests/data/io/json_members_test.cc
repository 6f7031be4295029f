#include "data/io/json_members.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

using Json = nlohmann::json;

TEST(JsonMembers, GivesWhatHasTheRightType) {
  const Json json = Json::parse(R"({"s": "x", "n": 3, "c": [1, 2], "d": 0.5, "o": {"p": 7}})");
  const JsonMembers members(json, "a.json");
  EXPECT_EQ(*members.String("s"), "x");
  EXPECT_EQ(*members.Count("n"), 3);
  EXPECT_EQ(*members.Count("n", 8), 3);
  EXPECT_EQ(*members.Count("none", 8), 8);
  EXPECT_FALSE(members.Count("s", 8).ok());
  EXPECT_EQ(*members.Counts("c"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(*members.Number("d"), 0.5);
  EXPECT_EQ(*members.Number("n"), 3);
  EXPECT_EQ((*members.List("c"))->size(), 2u);
  EXPECT_EQ(*members.At("o").Count("p"), 7);
  EXPECT_TRUE(members.Has("s"));
  EXPECT_FALSE(members.Has("t"));
}

TEST(JsonMembers, AllElseIsDamageWithItsPlace) {
  const Json json = Json::parse(
      R"({"n": -1, "big": 9223372036854775808, "f": 1.0, "c": [1, -2], "l": [{"m": null}]})");
  const JsonMembers members(json, "a.json");
  const auto message = [](const auto& result) { return std::string(result.status().message()); };
  EXPECT_EQ(message(members.Count("n")), "a.json: damaged: n: expected an integer from 0, got -1");
  EXPECT_EQ(message(members.Count("big")),
            "a.json: damaged: big: expected an integer from 0, got 9223372036854775808");
  EXPECT_EQ(message(members.Count("f")), "a.json: damaged: f: expected an integer from 0, got 1.0");
  EXPECT_EQ(message(members.Count("none")),
            "a.json: damaged: none: expected an integer from 0, got nothing");
  EXPECT_EQ(message(members.Counts("c")),
            "a.json: damaged: c: expected a list of integers from 0, got [1,-2]");
  EXPECT_EQ(message(members.At("l", 0).String("m")),
            "a.json: damaged: l[0].m: expected a string, got null");
  EXPECT_EQ(message(members.At("l", 5).String("m")),
            "a.json: damaged: l[5].m: expected a string, got nothing");
  EXPECT_EQ(message(members.At("n").Object("x")),
            "a.json: damaged: n.x: expected an object, got nothing");
  EXPECT_TRUE(absl::IsDataLoss(members.List("n").status()));
  for (const char* text : {"[]", "3", "null", "\"x\""}) {
    const Json other = Json::parse(text);
    EXPECT_FALSE(JsonMembers(other, "a.json").String("s").ok()) << text;
  }
}

TEST(JsonMembers, ShowsLongValuesShort) {
  EXPECT_EQ(DescribeJson(Json(std::vector<int>(1000))), "a list of 1000");
  EXPECT_LT(DescribeJson(Json(std::string(1 << 20, 'x'))).size(), 100u);
  EXPECT_EQ(DescribeJson(Json("\xff")), "\"\xEF\xBF\xBD\"");
}

TEST(JsonMembers, IntegersFitOrAreNone) {
  EXPECT_EQ(JsonInteger(Json::parse("-9223372036854775808")), INT64_MIN);
  EXPECT_EQ(JsonInteger(Json::parse("9223372036854775807")), INT64_MAX);
  EXPECT_EQ(JsonInteger(Json::parse("9223372036854775808")), std::nullopt);
  EXPECT_EQ(JsonInteger(Json::parse("1e3")), std::nullopt);
  EXPECT_EQ(JsonInteger(Json::parse("\"1\"")), std::nullopt);
}

}  // namespace
}  // namespace wyvern
