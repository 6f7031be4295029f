#include "trainer/inference/stop_text.h"

#include <gtest/gtest.h>

#include "data/tokenizer/byte_tokenizer.h"

namespace wyvern {
namespace {

// The texts that come out after each byte and at the end, with "|" between them.
std::string Parts(const std::string& bytes, std::vector<std::string> stops) {
  const std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
  StopText text(*tokenizer, ' ', std::move(stops));
  std::string parts;
  for (const char byte : bytes) {
    parts += text.Add(static_cast<uint8_t>(byte)) + "|";
    if (text.stopped()) return parts + "stop";
  }
  return parts + text.Rest();
}

TEST(StopText, HoldsBackWhatMayBecomeAStop) {
  EXPECT_EQ(Parts("abc", {}), "a|b|c|");
  EXPECT_EQ(Parts("abc", {"bc"}), "a|||stop");
  EXPECT_EQ(Parts("abd", {"bc"}), "a||bd|");
  EXPECT_EQ(Parts("ab", {"bc"}), "a||b");
  EXPECT_EQ(Parts("\n\nQ", {"\n\nQ:", "Q"}), "||\n\n|stop");  // the first one is the shorter one
  EXPECT_EQ(Parts("aab", {"ab"}), "|a||stop");
  EXPECT_EQ(Parts("abab", {"abc", "bd"}), "||ab||ab");
}

TEST(StopText, FindsAStopAtTheFirstPlace) {
  EXPECT_EQ(Parts("xyz", {"z", "yz"}), "x|||stop");
  EXPECT_EQ(Parts("x", {"x"}), "|stop");
}

TEST(StopText, GivesWholeCharacters) {
  EXPECT_EQ(Parts("a\u00e9\u20ac", {"\u20ac"}), "a||\u00e9||||stop");
  EXPECT_EQ(Parts("a\xe2\x82", {"\u20ac"}), "a|||\xe2\x82");  // the rest never comes
}

}  // namespace
}  // namespace wyvern
