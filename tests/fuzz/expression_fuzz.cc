// An expression of a sweep: parsed, and evaluated in a scope that knows every name.
#include <cmath>

#include "tests/fuzz/scratch.h"
#include "trainer/sweep/expression.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(wyvern::View(data, size));
  const auto expression = wyvern::Expression::Parse(text);
  if (!expression.ok()) return 0;
  const wyvern::ExpressionScope scope = {
      [](const std::string& name) -> absl::StatusOr<wyvern::SweepValue> {
        return wyvern::SweepValue(static_cast<double>(name.size()));
      },
      [](const std::string&, const wyvern::SweepValue& key) -> absl::StatusOr<wyvern::SweepValue> {
        return key;
      }};
  const auto value = expression->Evaluate(scope);
  if (!value.ok()) return 0;
  if (const double* number = std::get_if<double>(&*value)) {
    CHECK(std::isfinite(*number), "the value of ", text, " is not finite");
    CHECK(wyvern::ValueOfText(wyvern::ValueText(*number)) == wyvern::SweepValue(*number),
          wyvern::ValueText(*number), " reads back as another number");
  }
  return 0;
}
