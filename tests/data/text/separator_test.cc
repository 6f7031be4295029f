#include "data/text/separator.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace wyvern {
namespace {

std::vector<std::string> Divide(const std::string& separator, const std::string& text) {
  const Separator wanted(separator);
  std::vector<std::string> parts;
  size_t begin = 0;
  while (true) {
    const Separator::Match match = wanted.Find(text, begin);
    if (match.begin == std::string::npos) break;
    parts.push_back(text.substr(begin, match.begin - begin));
    EXPECT_LE(match.length, wanted.max_length());
    begin = match.begin + match.length;
  }
  parts.push_back(text.substr(begin));
  return parts;
}

using Parts = std::vector<std::string>;

TEST(SeparatorTest, ANewlineStandsForEveryKindOfLineEnd) {
  for (const char* separator : {"\n\n", "\r\n\r\n", "\r\n\n"}) {
    EXPECT_EQ(Divide(separator, "a\n\nb\r\n\r\nc\r\n\nd\n\r\ne"), (Parts{"a", "b", "c", "d", "e"}));
    EXPECT_EQ(Divide(separator, "a\r\nb\nc\r\rd"), (Parts{"a\r\nb\nc\r\rd"}));
  }
  EXPECT_EQ(Divide("\n", "a\r\nb\nc"), (Parts{"a", "b", "c"}));
  EXPECT_EQ(Divide("\n---\n", "a\r\n---\r\nb\n---\nc --- d"), (Parts{"a", "b", "c --- d"}));
  EXPECT_EQ(Divide("###\n", "a###\r\nb####\nc"), (Parts{"a", "b#", "c"}));
}

TEST(SeparatorTest, WithoutNewlinesItStandsForItself) {
  EXPECT_EQ(Divide("<sep>", "a<sep>b<se<sep>"), (Parts{"a", "b<se", ""}));
  EXPECT_EQ(Divide("<sep>", "none"), (Parts{"none"}));
  EXPECT_TRUE(Separator("").empty());
  EXPECT_EQ(Divide("", "a\n\nb"), (Parts{"a\n\nb"}));
}

TEST(SeparatorTest, ARemainderOfTheLastSeparatorIsText) {
  EXPECT_EQ(Divide("\n\n", "a\n\n\nb"), (Parts{"a", "\nb"}));
  EXPECT_EQ(Divide("\n\n", "a\r\n\r\n\r\nb"), (Parts{"a", "\r\nb"}));
}

}  // namespace
}  // namespace wyvern
