#include "data/io/printable.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

TEST(Printable, HidesWhatATerminalWouldObey) {
  EXPECT_EQ(Printable("a\tb\nzweites: äöü 中"), "a\tb\nzweites: äöü 中");
  EXPECT_EQ(Printable(absl::string_view("a\0b: c", 6)), "a\\x00b: c");
  EXPECT_EQ(Printable("\x1B[31m\r\x7F"), "\\x1B[31m\\x0D\\x7F");
  EXPECT_EQ(Printable("caf\xE9 \xC3"), "caf\\xE9 \\xC3");
  EXPECT_EQ(Printable("\uFEFFrun"), "\\xEF\\xBB\\xBFrun");
  EXPECT_EQ(Printable("\u0085\u202E"), "\\xC2\\x85\\xE2\\x80\\xAE");
}

TEST(Printable, ShortensLongLinesInTheMiddle) {
  const std::string whole(kMaxPrintedLine, 'a');
  EXPECT_EQ(Printable(whole), whole);
  std::string text = "a.yaml:3: '";
  for (int i = 0; i < 50'000; ++i) text += "ä";
  const std::string shown = Printable(absl::StrCat(text, "'; expected a number\nnext"));
  EXPECT_LT(shown.size(), kMaxPrintedLine + 100);
  EXPECT_TRUE(absl::StartsWith(shown, "a.yaml:3: 'ää"));
  EXPECT_TRUE(absl::StrContains(shown, " bytes) ... ä"));
  EXPECT_TRUE(absl::EndsWith(shown, "ä'; expected a number\nnext"));
  EXPECT_FALSE(absl::StrContains(shown, "\\x"));
}

}  // namespace
}  // namespace wyvern
