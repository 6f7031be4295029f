#include "trainer/sweep/expression.h"

#include <gtest/gtest.h>

#include <cmath>

namespace wyvern {
namespace {

absl::StatusOr<SweepValue> Evaluate(const std::string& text) {
  const absl::StatusOr<Expression> expression = Expression::Parse(text);
  if (!expression.ok()) return expression.status();
  return expression->Evaluate(
      {.name = [](const std::string& name) -> absl::StatusOr<SweepValue> {
         if (name == "layout") return SweepValue("hybrid");
         if (name == "model.num_layers") return SweepValue(12.0);
         if (name == "zero") return SweepValue(0.0);
         return absl::NotFoundError("unknown name '" + name + "'");
       },
       .entry = [](const std::string& table, const SweepValue& key) -> absl::StatusOr<SweepValue> {
         return SweepValue(table + ":" + ValueText(key));
       }});
}

TEST(Expression, Arithmetic) {
  const std::pair<const char*, double> kCases[] = {
      {"1 + 2 * 3", 7},
      {"(1 + 2) * 3", 9},
      {"8 - 3 - 2", 3},
      {"8 / 4 / 2", 1},
      {"2 ^ 3 ^ 2", 512},
      {"-2 ^ 2", -4},
      {"2 ^ -1", 0.5},
      {"- -3", 3},
      {"20 * model.num_layers", 240},
      {"1.5e-3*2", 3e-3},
      {".5", 0.5},
      {"min(3, 1, 2)", 1},
      {"max(3, model.num_layers)", 12},
      {"round(2.5)", 3},
      {"round(100, 64)", 128},
      {"floor(100, 64)", 64},
      {"ceil(65 / 64)", 2},
      {"log(exp(2))", 2},
      {"sqrt(16)", 4},
  };
  for (const auto& [text, expected] : kCases) {
    const auto value = Evaluate(text);
    ASSERT_TRUE(value.ok()) << text << ": " << value.status();
    EXPECT_NEAR(std::get<double>(*value), expected, 1e-12) << text;
  }
}

TEST(Expression, NamesAndTablesMayBeTexts) {
  EXPECT_EQ(ValueText(*Evaluate("layout")), "hybrid");
  EXPECT_EQ(ValueText(*Evaluate("rate[layout]")), "rate:hybrid");
  EXPECT_EQ(ValueText(*Evaluate("rate[model.num_layers * 2]")), "rate:24");
  const auto parsed = Expression::Parse("a.b + rate[c] - max(d, 2)");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->names(), (std::vector<std::string>{"a.b", "c", "d"}));
  EXPECT_EQ(parsed->tables(), std::vector<std::string>{"rate"});
}

TEST(Expression, FaultsSayWhatAndWhere) {
  const std::pair<const char*, const char*> kCases[] = {
      {"", "expected a number, a name or '(' at the end"},
      {"1 +", "at the end"},
      {"(1", "expected ')' at the end"},
      {"1 2", "expected an operator or the end at '2'"},
      {"2 * $", "at '$'"},
      {"rate[1", "expected ']'"},
      {"rond(2)", "unknown function 'rond'; did you mean 'round'?"},
      {"log(1, 2)", "log takes 1 argument, got 2"},
      {"min(1)", "min takes 2 arguments or more, got 1"},
      {"1 / (3 - 3)", "division by zero: '3 - 3' is 0"},
      {"1 / zero", "division by zero: 'zero' is 0"},
      {"round(3, zero)", "division by zero"},
      {"0 ^ -1", "is not a finite number"},
      {"log(0)", "'log(0)' with 0 is not a finite number"},
      {"sqrt(-1)", "is not a finite number"},
      {"exp(1000)", "is not a finite number"},
      {"2 * layout", "'layout' is the text 'hybrid', not a number"},
      {"widht", "unknown name 'widht'"},
  };
  for (const auto& [text, expected] : kCases) {
    const auto value = Evaluate(text);
    ASSERT_FALSE(value.ok()) << text;
    EXPECT_NE(std::string(value.status().message()).find(expected), std::string::npos)
        << text << ": " << value.status();
  }
  EXPECT_FALSE(Evaluate(std::string(5000, '(')).ok());
  EXPECT_FALSE(Evaluate(std::string(5000, '-')).ok());
}

TEST(Expression, NumbersAreWrittenAsTheyReadBack) {
  EXPECT_EQ(ValueText(7.0), "7");
  EXPECT_EQ(ValueText(15e9), "15000000000");
  EXPECT_EQ(ValueText(-0.25), "-0.25");
  EXPECT_EQ(std::get<double>(ValueOfText(ValueText(0.1 + 0.2))), 0.1 + 0.2);
  EXPECT_EQ(std::get<double>(ValueOfText("2e-3")), 2e-3);
  EXPECT_EQ(std::get<std::string>(ValueOfText("nan")), "nan");
  EXPECT_EQ(std::get<std::string>(ValueOfText("kda")), "kda");
}

}  // namespace
}  // namespace wyvern
