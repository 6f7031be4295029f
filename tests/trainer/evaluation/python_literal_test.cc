#include "trainer/evaluation/python_literal.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

// Each repr is that of CPython's ast.literal_eval of the text.
TEST(PythonLiteral, ReadsWhatPythonReads) {
  const std::pair<const char*, const char*> cases[] = {
      {"['a', \"b's\", 'c' 'd']", "['a', \"b's\", 'cd']"},
      {" [1, -2, +3, 1_000, 1.5, -2e3, .5]\n", "[1, -2, 3, 1000, 1.5, -2000.0, 0.5]"},
      {"('a',)", "('a',)"},
      {"('a')", "'a'"},
      {"1, 2", "(1, 2)"},
      {"[]", "[]"},
      {"()", "()"},
      {"{'a': [True, None], 2: False, 'a': 3}", "{'a': 3, 2: False}"},
      {R"('\n\t\\\'\"\x41\u00e9\U0001F600\101\q')", "'\\n\\t\\\\\\'\"Aé😀A\\\\q'"},
      {R"(r'a\n')", "'a\\\\n'"},
      {"u'é'", "'é'"},
      {"'''a\n'b'''", "\"a\\n'b\""},
      {"['a', 'b',]", "['a', 'b']"}};
  for (const auto& [text, expected] : cases) {
    const auto value = ParsePythonLiteral(text);
    ASSERT_TRUE(value.ok()) << text << ": " << value.status();
    EXPECT_EQ(jinja::ToRepr(*value).value_or("?"), expected) << text;
  }
}

TEST(PythonLiteral, RefusesTheRest) {
  for (const char* text :
       {"", "a", "[a]", "['a'", "'a", "'a\nb'", "01", "1 2", "[1 2]", "[,]", "f'a'", "b'a'",
        "len([])", "1 + 2", "{'a'}", "'\\ud800'", "'\\xg0'", "nan", "1e999"}) {
    EXPECT_FALSE(ParsePythonLiteral(text).ok()) << text;
  }
  EXPECT_EQ(ParsePythonLiteral(std::string(100000, '[')).status().message(), "nested too deeply");
}

}  // namespace
}  // namespace wyvern
