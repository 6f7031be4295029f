#include "trainer/sweep/expression.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/nearest.h"
#include "kernels/runtime/status.h"

namespace wyvern {

struct Expression::Node {
  // '0' a number, 'n' a name, 't' an entry of a table, 'f' a function, '~' a change of sign;
  // otherwise the operator itself.
  char kind = '0';
  double number = 0;
  std::string name;  // of the name, table or function
  std::string text;  // this part of the expression, for messages
  std::vector<std::shared_ptr<const Node>> arguments;
};

namespace {

using Node = Expression::Node;
using NodePtr = std::shared_ptr<const Node>;

constexpr int kMaxDepth = 100;
// Evaluation goes one call deeper with each term of a sum, and each part keeps its text.
constexpr size_t kMaxLength = 4096;

struct Function {
  size_t min_arguments, max_arguments;
};

const Function* FindFunction(const std::string& name) {
  static constexpr Function kOne{1, 1}, kRounding{1, 2}, kMany{2, 100};
  if (name == "min" || name == "max") return &kMany;
  if (name == "round" || name == "floor" || name == "ceil") return &kRounding;
  if (name == "log" || name == "exp" || name == "sqrt") return &kOne;
  return nullptr;
}

class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}

  absl::StatusOr<NodePtr> Whole() {
    ASSIGN_OR_RETURN(NodePtr root, Sum(0));
    if (Peek() != '\0') return Expected("an operator or the end");
    return root;
  }
  std::vector<std::string> names, tables;

 private:
  char Peek() {
    while (at_ < text_.size() && absl::ascii_isspace(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool Take(char c) {
    if (Peek() != c) return false;
    ++at_;
    return true;
  }
  absl::Status Expected(absl::string_view what) {
    const bool ends = Peek() == '\0';
    return absl::InvalidArgumentError(
        absl::StrCat("'", text_, "': expected ", what,
                     ends ? " at the end" : absl::StrCat(" at '", text_.substr(at_), "'")));
  }
  NodePtr Make(Node node, size_t begin) {
    node.text = std::string(absl::StripAsciiWhitespace(text_.substr(begin, at_ - begin)));
    return std::make_shared<const Node>(std::move(node));
  }

  absl::StatusOr<NodePtr> Sum(int depth) {
    if (depth > kMaxDepth) return Expected("fewer parentheses");
    Peek();
    const size_t begin = at_;
    ASSIGN_OR_RETURN(NodePtr left, Product(depth));
    for (char c = Peek(); c == '+' || c == '-'; c = Peek()) {
      ++at_;
      ASSIGN_OR_RETURN(NodePtr right, Product(depth));
      left = Make({.kind = c, .arguments = {left, right}}, begin);
    }
    return left;
  }
  absl::StatusOr<NodePtr> Product(int depth) {
    Peek();
    const size_t begin = at_;
    ASSIGN_OR_RETURN(NodePtr left, Signed(depth));
    for (char c = Peek(); c == '*' || c == '/'; c = Peek()) {
      ++at_;
      ASSIGN_OR_RETURN(NodePtr right, Signed(depth));
      left = Make({.kind = c, .arguments = {left, right}}, begin);
    }
    return left;
  }
  absl::StatusOr<NodePtr> Signed(int depth) {
    if (depth > kMaxDepth) return Expected("fewer signs");
    Peek();
    const size_t begin = at_;
    if (Take('-')) {
      ASSIGN_OR_RETURN(NodePtr value, Signed(depth + 1));
      return Make({.kind = '~', .arguments = {value}}, begin);
    }
    ASSIGN_OR_RETURN(NodePtr base, Atom(depth));
    if (!Take('^')) return base;
    ASSIGN_OR_RETURN(NodePtr exponent, Signed(depth + 1));
    return Make({.kind = '^', .arguments = {base, exponent}}, begin);
  }
  absl::StatusOr<NodePtr> Atom(int depth) {
    const char c = Peek();
    const size_t begin = at_;
    if (Take('(')) {
      ASSIGN_OR_RETURN(NodePtr inner, Sum(depth + 1));
      if (!Take(')')) return Expected("')'");
      return inner;
    }
    if (absl::ascii_isdigit(c) || c == '.') return Number();
    if (!absl::ascii_isalpha(c) && c != '_') return Expected("a number, a name or '('");
    while (at_ < text_.size() &&
           (absl::ascii_isalnum(text_[at_]) || text_[at_] == '_' || text_[at_] == '.')) {
      ++at_;
    }
    const std::string name = text_.substr(begin, at_ - begin);
    if (Take('(')) return Call(name, begin, depth);
    if (Take('[')) {
      ASSIGN_OR_RETURN(NodePtr key, Sum(depth + 1));
      if (!Take(']')) return Expected("']'");
      tables.push_back(name);
      return Make({.kind = 't', .name = name, .arguments = {key}}, begin);
    }
    names.push_back(name);
    return Make({.kind = 'n', .name = name}, begin);
  }
  absl::StatusOr<NodePtr> Number() {
    const size_t begin = at_;
    const char* first = text_.data() + at_;
    double value = 0;
    const auto [end, error] = std::from_chars(first, text_.data() + text_.size(), value);
    if (error != std::errc()) return Expected("a number");
    at_ += static_cast<size_t>(end - first);
    return Make({.kind = '0', .number = value}, begin);
  }
  absl::StatusOr<NodePtr> Call(const std::string& name, size_t begin, int depth) {
    const Function* function = FindFunction(name);
    if (function == nullptr) {
      const std::string nearest = Nearest(name, ExpressionFunctions());
      return absl::InvalidArgumentError(absl::StrCat(
          "'", text_, "': unknown function '", name, "'; ",
          nearest.empty()
              ? absl::StrCat("the functions are ", absl::StrJoin(ExpressionFunctions(), ", "))
              : absl::StrCat("did you mean '", nearest, "'?")));
    }
    Node node{.kind = 'f', .name = name};
    do {
      ASSIGN_OR_RETURN(NodePtr argument, Sum(depth + 1));
      node.arguments.push_back(std::move(argument));
    } while (Take(','));
    if (!Take(')')) return Expected("',' or ')'");
    const size_t count = node.arguments.size();
    if (count < function->min_arguments || count > function->max_arguments) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", text_, "': ", name, " takes ", function->min_arguments,
                       function->max_arguments == 2   ? " or 2 arguments"
                       : function->min_arguments == 1 ? " argument"
                                                      : " arguments or more",
                       ", got ", count));
    }
    return Make(std::move(node), begin);
  }

  const std::string& text_;
  size_t at_ = 0;
};

double Apply(const Node& node, const std::vector<double>& x) {
  switch (node.kind) {
    case '+':
      return x[0] + x[1];
    case '-':
      return x[0] - x[1];
    case '*':
      return x[0] * x[1];
    case '/':
      return x[0] / x[1];
    case '^':
      return std::pow(x[0], x[1]);
    case '~':
      return -x[0];
  }
  const std::string& f = node.name;
  if (f == "min") return *std::min_element(x.begin(), x.end());
  if (f == "max") return *std::max_element(x.begin(), x.end());
  if (f == "log") return std::log(x[0]);
  if (f == "exp") return std::exp(x[0]);
  if (f == "sqrt") return std::sqrt(x[0]);
  const double unit = x.size() > 1 ? x[1] : 1;
  if (f == "floor") return unit * std::floor(x[0] / unit);
  if (f == "ceil") return unit * std::ceil(x[0] / unit);
  return unit * std::round(x[0] / unit);
}

absl::StatusOr<SweepValue> Value(const Node& node, const ExpressionScope& scope) {
  if (node.kind == '0') return node.number;
  if (node.kind == 'n') return scope.name(node.name);
  if (node.kind == 't') {
    ASSIGN_OR_RETURN(const SweepValue key, Value(*node.arguments[0], scope));
    return scope.entry(node.name, key);
  }
  // All arguments are evaluated, so that a fault of one does not hide another's.
  std::vector<double> numbers;
  absl::Status status;
  for (const NodePtr& argument : node.arguments) {
    const absl::StatusOr<SweepValue> value = Value(*argument, scope);
    absl::Status fault = value.status();
    if (fault.ok() && !std::holds_alternative<double>(*value)) {
      fault = absl::InvalidArgumentError(absl::StrCat("'", node.text, "': '", argument->text,
                                                      "' is the text '", ValueText(*value),
                                                      "', not a number"));
    }
    // One that only follows from another fault (absl::StatusCode::kCancelled) yields to a new one.
    if (status.ok() || (absl::IsCancelled(status) && !fault.ok())) status = fault;
    numbers.push_back(fault.ok() ? std::get<double>(*value) : 1);
  }
  const bool divides = node.kind == '/' || (node.kind == 'f' && numbers.size() == 2 &&
                                            node.name != "min" && node.name != "max");
  if (divides && numbers[1] == 0 && (status.ok() || absl::IsCancelled(status))) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", node.text, "': division by zero: '", node.arguments[1]->text, "' is 0"));
  }
  RETURN_IF_ERROR(status);
  const double result = Apply(node, numbers);
  if (!std::isfinite(result)) {
    std::vector<std::string> shown;
    for (const double x : numbers) shown.push_back(ValueText(x));
    return absl::InvalidArgumentError(absl::StrCat(
        "'", node.text, "' with ", absl::StrJoin(shown, " and "), " is not a finite number"));
  }
  return result;
}

}  // namespace

const std::vector<std::string>& ExpressionFunctions() {
  static const auto* const kNames =
      new std::vector<std::string>{"min", "max", "round", "floor", "ceil", "log", "exp", "sqrt"};
  return *kNames;
}

std::string ValueText(const SweepValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  const double number = std::get<double>(value);
  if (number == std::floor(number) && std::abs(number) <= 9007199254740992.0) {
    return absl::StrCat(static_cast<int64_t>(number));
  }
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof(text), number).ptr);
}

SweepValue ValueOfText(const std::string& text) {
  double number = 0;
  if (text.find_first_not_of("+-.0123456789eE") == std::string::npos &&
      absl::SimpleAtod(text, &number) && std::isfinite(number)) {
    return number;
  }
  return text;
}

absl::StatusOr<Expression> Expression::Parse(const std::string& text) {
  Expression expression;
  expression.text_ = std::string(absl::StripAsciiWhitespace(text));
  if (expression.text_.size() > kMaxLength) {
    return absl::InvalidArgumentError(
        absl::StrCat("an expression of ", expression.text_.size(), " characters; at most ",
                     kMaxLength, " are read: give parts of it names as variables of the sweep"));
  }
  Parser parser(expression.text_);
  ASSIGN_OR_RETURN(expression.root_, parser.Whole());
  expression.names_ = std::move(parser.names);
  expression.tables_ = std::move(parser.tables);
  return expression;
}

absl::StatusOr<SweepValue> Expression::Evaluate(const ExpressionScope& scope) const {
  return Value(*root_, scope);
}

}  // namespace wyvern
