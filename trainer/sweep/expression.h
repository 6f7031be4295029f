// Arithmetic over names, for values of a sweep that follow from others.
#ifndef WYVERN_TRAINER_SWEEP_EXPRESSION_H_
#define WYVERN_TRAINER_SWEEP_EXPRESSION_H_

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// A number, or a text such as the name of a point on an axis.
using SweepValue = std::variant<double, std::string>;

// The shortest text that reads back as the same number, whole numbers without an exponent; or the
// text itself.
std::string ValueText(const SweepValue& value);
// The number that the text is, otherwise the text.
SweepValue ValueOfText(const std::string& text);

// The meaning of an expression's names.
struct ExpressionScope {
  std::function<absl::StatusOr<SweepValue>(const std::string& name)> name;
  // table[key]
  std::function<absl::StatusOr<SweepValue>(const std::string& table, const SweepValue& key)> entry;
};

// + - * / ^, parentheses, names (letters, digits, '_' and dots: model.num_layers), table[key], and
// the functions min, max (two arguments or more), log, exp, sqrt, and round, floor, ceil (one
// argument, or a second one of which the result is a multiple). ^ binds tightest, to the right;
// -2^2 is -4.
class Expression {
 public:
  // The error says what was expected and where in the text.
  static absl::StatusOr<Expression> Parse(const std::string& text);

  // Errors: those of the scope, arithmetic with a text, division by zero, a result that is not
  // finite; each names the part of the expression. A Cancelled one of the scope, which stands for a
  // fault that is reported elsewhere, yields to any other.
  absl::StatusOr<SweepValue> Evaluate(const ExpressionScope& scope) const;

  const std::string& text() const { return text_; }
  // In the order in which they stand in the text.
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<std::string>& tables() const { return tables_; }

  struct Node;

 private:
  std::string text_;
  std::shared_ptr<const Node> root_;
  std::vector<std::string> names_, tables_;
};

// The names of all functions.
const std::vector<std::string>& ExpressionFunctions();

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SWEEP_EXPRESSION_H_
