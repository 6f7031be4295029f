#include "data/io/utf8.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

TEST(Utf8Test, EveryCharacterIsWhole) {
  std::string all;
  for (uint32_t c = 1; c < 0x110000; c += c < 0x900 ? 1 : 61) {
    if (c >= 0xD800 && c < 0xE000) continue;
    if (c < 0x80) {
      all += static_cast<char>(c);
    } else if (c < 0x800) {
      all += {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
    } else if (c < 0x10000) {
      all += {static_cast<char>(0xE0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 0x3F)),
              static_cast<char>(0x80 | (c & 0x3F))};
    } else {
      all += {static_cast<char>(0xF0 | (c >> 18)), static_cast<char>(0x80 | ((c >> 12) & 0x3F)),
              static_cast<char>(0x80 | ((c >> 6) & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  EXPECT_EQ(Utf8PrefixLength(all), all.size());
  std::string copy = all;
  EXPECT_EQ(ReplaceUtf8Faults(&copy), 0);
  EXPECT_TRUE(copy == all);
}

TEST(Utf8Test, FaultsAreFoundWhereverTheyLie) {
  const std::vector<std::string> faults = {
      "\xE9",             // Latin-1
      "\x80",             // a character's middle
      "\xC0\xAF",         // overlong
      "\xE0\x80\xAF",     // overlong
      "\xED\xA0\x80",     // a surrogate
      "\xF4\x90\x80\x80"  // beyond U+10FFFF
      "\xF5",
      "\xFF",
      "\xE6\xBC",           // cut
      std::string(1, '\0')  // of no text
  };
  for (const std::string& fault : faults) {
    for (size_t before = 0; before < 20; ++before) {
      for (const size_t behind : {0, 1, 7, 8, 9}) {
        const std::string text =
            absl::StrCat(std::string(before, 'a'), fault, std::string(behind, 'b'));
        EXPECT_EQ(Utf8PrefixLength(text), before) << before << " " << behind;
        std::string mended = text;
        EXPECT_GT(ReplaceUtf8Faults(&mended), 0);
        EXPECT_EQ(Utf8PrefixLength(mended), mended.size());
        EXPECT_EQ(mended.substr(0, before), std::string(before, 'a'));
        EXPECT_EQ(mended.substr(mended.size() - behind), std::string(behind, 'b'));
      }
    }
  }
}

TEST(Utf8Test, AFaultIsReplacedOnce) {
  std::string text = "caf\xE9, \xE6\xBC and \xF0\x9F\x9C.";
  EXPECT_EQ(ReplaceUtf8Faults(&text), 3);
  EXPECT_EQ(text, "caf\uFFFD, \uFFFD and \uFFFD.");
}

TEST(Utf8Test, CutCharactersAreTold) {
  for (const char* cut : {"\xC3", "\xE6", "\xE6\xBC", "\xF0\x9F\x9C"}) {
    EXPECT_TRUE(IsCutCharacter(cut)) << cut;
  }
  for (const char* whole : {"", "a", "\xC3\xA9", "\xE9z", "\x80", "\xFF", "a\xC3"}) {
    EXPECT_FALSE(IsCutCharacter(whole)) << whole;
  }
}

}  // namespace
}  // namespace wyvern
