#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja_cursor.h"
#include "data/chat/jinja_lexer.h"
#include "data/chat/jinja_syntax.h"
#include "kernels/runtime/status.h"

namespace wyvern::jinja {
namespace {

using Names = std::vector<absl::string_view>;

class Parser : private Cursor {
 public:
  Parser(std::vector<Token> tokens, const std::string& origin)
      : Cursor(std::move(tokens), origin) {}

  absl::StatusOr<Body> Run() {
    std::string end;
    return ParseBody({}, &end);
  }

 private:
  // ---- statements -----------------------------------------------------------------------------

  // Statements up to a tag that begins with one of `ends`, whose name goes to `end` and is taken;
  // without ends, up to the template's end.
  absl::StatusOr<Body> ParseBody(const Names& ends, std::string* end) {
    const Depth depth(&depth_);
    RETURN_IF_ERROR(CheckDepth());
    Body body;
    while (Now().kind != Kind::kEnd) {
      Statement statement;
      statement.line = Now().line;
      if (Now().kind == Kind::kText) {
        statement.text = Now().text;
        Skip();
      } else if (Now().kind == Kind::kPrintBegin) {
        Skip();
        statement.kind = Statement::Kind::kPrint;
        ASSIGN_OR_RETURN(statement.expression, ParseTuple(true, {}, false));
        if (Now().kind != Kind::kPrintEnd) return Unexpected("'}}'");
        Skip();
      } else {
        Skip();
        if (Now().kind != Kind::kName) return Unexpected("the name of a statement");
        if (std::find(ends.begin(), ends.end(), Now().text) != ends.end()) {
          *end = Now().text;
          Skip();
          return body;
        }
        RETURN_IF_ERROR(ParseStatement(&statement));
      }
      body.push_back(std::move(statement));
    }
    if (ends.empty()) return body;
    return Fault(absl::StrCat("expected {% ", ends.back(), " %} before the template's end"));
  }

  // Statements up to {% end %}, both taken.
  absl::StatusOr<Body> ParseBlock(absl::string_view end) {
    std::string name;
    ASSIGN_OR_RETURN(Body body, ParseBody({end}, &name));
    RETURN_IF_ERROR(ExpectBlockEnd());
    return body;
  }

  absl::Status ParseStatement(Statement* s) {
    ASSIGN_OR_RETURN(const std::string name, ExpectName());
    if (name == "if") return ParseIf(s);
    if (name == "for") return ParseFor(s);
    if (name == "set") return ParseSet(s);
    if (name == "macro") return ParseMacro(s);
    if (name == "generation") {
      s->kind = Statement::Kind::kGeneration;
      RETURN_IF_ERROR(ExpectBlockEnd());
      loops_.push_back(false);
      ASSIGN_OR_RETURN(Body body, ParseBlock("endgeneration"));
      loops_.pop_back();
      s->bodies.push_back(std::move(body));
      return absl::OkStatus();
    }
    if (name == "break" || name == "continue") {
      if (loops_.empty() || !loops_.back()) return Fault(absl::StrCat(name, " is outside a loop"));
      s->kind = name == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue;
      return ExpectBlockEnd();
    }
    return Fault(absl::StrCat("the statement '", name, "' is not supported in a template"));
  }

  absl::Status ParseIf(Statement* s) {
    s->kind = Statement::Kind::kIf;
    std::string end = "elif";
    while (end == "elif") {
      ASSIGN_OR_RETURN(ExpressionPtr condition, ParseTuple(false, {}, false));
      s->conditions.push_back(std::move(condition));
      RETURN_IF_ERROR(ExpectBlockEnd());
      ASSIGN_OR_RETURN(Body body, ParseBody({"elif", "else", "endif"}, &end));
      s->bodies.push_back(std::move(body));
    }
    if (end == "else") {
      RETURN_IF_ERROR(ExpectBlockEnd());
      ASSIGN_OR_RETURN(Body body, ParseBody({"endif"}, &end));
      s->bodies.push_back(std::move(body));
    }
    return ExpectBlockEnd();
  }

  absl::Status ParseFor(Statement* s) {
    s->kind = Statement::Kind::kFor;
    ASSIGN_OR_RETURN(s->target, ParseTarget("in", /*with_attribute=*/false));
    if (!TakeName("in")) return Unexpected("'in'");
    ASSIGN_OR_RETURN(s->expression, ParseTuple(false, {"recursive"}, false));
    if (TakeName("if")) {
      ASSIGN_OR_RETURN(ExpressionPtr condition, ParseExpression(true));
      s->conditions.push_back(std::move(condition));
    }
    if (IsName("recursive")) return Fault("recursive loops are not supported");
    RETURN_IF_ERROR(ExpectBlockEnd());
    std::string end;
    loops_.push_back(true);
    ASSIGN_OR_RETURN(Body body, ParseBody({"else", "endfor"}, &end));
    loops_.pop_back();
    s->bodies.push_back(std::move(body));
    s->bodies.emplace_back();
    if (end == "else") {
      RETURN_IF_ERROR(ExpectBlockEnd());
      ASSIGN_OR_RETURN(s->bodies[1], ParseBody({"endfor"}, &end));
    }
    return ExpectBlockEnd();
  }

  absl::StatusOr<Target> ParseTarget(absl::string_view end, bool with_attribute) {
    Target tuple;
    bool is_tuple = false;
    while (true) {
      if (IsName(end) || IsOperator("=") || IsOperator(")") || Now().kind == Kind::kBlockEnd) break;
      Target part;
      if (TakeOperator("(")) {
        const Depth depth(&depth_);
        RETURN_IF_ERROR(CheckDepth());
        ASSIGN_OR_RETURN(part, ParseTarget(end, with_attribute));
        RETURN_IF_ERROR(Expect(")"));
      } else {
        ASSIGN_OR_RETURN(part.name, ExpectName());
        static constexpr absl::string_view kConstants[] = {"true",  "false", "True",
                                                           "False", "none",  "None"};
        if (std::find(std::begin(kConstants), std::end(kConstants), part.name) !=
            std::end(kConstants)) {
          return Fault(absl::StrCat("cannot assign to '", part.name, "'"));
        }
        if (with_attribute && TakeOperator(".")) {
          ASSIGN_OR_RETURN(part.attribute, ExpectName());
        }
      }
      tuple.parts.push_back(std::move(part));
      if (!TakeOperator(",")) break;
      is_tuple = true;
    }
    if (tuple.parts.empty()) return Unexpected("a name to assign to");
    if (!is_tuple) {
      Target only = std::move(tuple.parts[0]);
      return only;
    }
    return tuple;
  }

  absl::Status ParseSet(Statement* s) {
    ASSIGN_OR_RETURN(s->target, ParseTarget("", /*with_attribute=*/true));
    if (TakeOperator("=")) {
      s->kind = Statement::Kind::kSet;
      ASSIGN_OR_RETURN(s->expression, ParseTuple(true, {}, false));
      return ExpectBlockEnd();
    }
    s->kind = Statement::Kind::kSetBlock;
    if (IsOperator("|")) return Fault("a set block with a filter is not supported");
    RETURN_IF_ERROR(ExpectBlockEnd());
    ASSIGN_OR_RETURN(Body body, ParseBlock("endset"));
    s->bodies.push_back(std::move(body));
    return absl::OkStatus();
  }

  absl::Status ParseMacro(Statement* s) {
    s->kind = Statement::Kind::kMacro;
    ASSIGN_OR_RETURN(s->text, ExpectName());
    RETURN_IF_ERROR(Expect("("));
    while (!IsOperator(")")) {
      if (!s->parameters.empty()) RETURN_IF_ERROR(Expect(","));
      ASSIGN_OR_RETURN(std::string parameter, ExpectName());
      s->parameters.push_back(std::move(parameter));
      if (TakeOperator("=")) {
        ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression(true));
        s->defaults.push_back(std::move(value));
      } else if (!s->defaults.empty()) {
        return Fault("a parameter without a default follows one that has one");
      }
    }
    RETURN_IF_ERROR(Expect(")"));
    RETURN_IF_ERROR(ExpectBlockEnd());
    loops_.push_back(false);
    ASSIGN_OR_RETURN(Body body, ParseBlock("endmacro"));
    loops_.pop_back();
    s->bodies.push_back(std::move(body));
    return absl::OkStatus();
  }

  // ---- expressions ----------------------------------------------------------------------------

  ExpressionPtr Make(Expression::Kind kind) const {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->line = Now().line;
    return made;
  }
  static ExpressionPtr With(ExpressionPtr made, ExpressionPtr a, ExpressionPtr b = nullptr) {
    made->children.push_back(std::move(a));
    if (b != nullptr) made->children.push_back(std::move(b));
    return made;
  }

  bool IsTupleEnd(const Names& ends) const {
    if (Now().kind == Kind::kPrintEnd || Now().kind == Kind::kBlockEnd) return true;
    if (IsOperator(")")) return true;
    return Now().kind == Kind::kName &&
           std::find(ends.begin(), ends.end(), Now().text) != ends.end();
  }

  // An expression, or several with commas between them.
  absl::StatusOr<ExpressionPtr> ParseTuple(bool with_condition, const Names& ends,
                                           bool in_parentheses) {
    ExpressionPtr tuple = Make(Expression::Kind::kTuple);
    bool is_tuple = false;
    while (true) {
      if (!tuple->children.empty()) RETURN_IF_ERROR(Expect(","));
      if (IsTupleEnd(ends)) break;
      ASSIGN_OR_RETURN(ExpressionPtr child, ParseExpression(with_condition));
      tuple->children.push_back(std::move(child));
      if (!IsOperator(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && !tuple->children.empty()) {
      ExpressionPtr only = std::move(tuple->children[0]);
      return only;
    }
    if (!is_tuple && !in_parentheses) return Unexpected("an expression");
    return tuple;
  }

  absl::StatusOr<ExpressionPtr> ParseExpression(bool with_condition) {
    const Depth depth(&depth_);
    RETURN_IF_ERROR(CheckDepth());
    ASSIGN_OR_RETURN(ExpressionPtr value, ParseOr());
    while (with_condition && IsName("if")) {
      ExpressionPtr made = Make(Expression::Kind::kConditional);
      Skip();
      ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
      ExpressionPtr other;
      if (TakeName("else")) {
        ASSIGN_OR_RETURN(other, ParseExpression(true));
      }
      made->children.push_back(std::move(condition));
      made->children.push_back(std::move(value));
      made->children.push_back(std::move(other));
      value = std::move(made);
    }
    return value;
  }

  // Chains of operators grow to the left without recursion here, so they too are counted: what
  // evaluates them does recurse.
  absl::Status CheckChain(int length) const {
    if (length <= kMaxDepth) return absl::OkStatus();
    return Fault(absl::StrCat("more than ", kMaxDepth, " operators in a row"));
  }

  absl::StatusOr<ExpressionPtr> ParseOr() {
    ASSIGN_OR_RETURN(ExpressionPtr left, ParseAnd());
    for (int n = 0; IsName("or"); ++n) {
      RETURN_IF_ERROR(CheckChain(n));
      ExpressionPtr made = Make(Expression::Kind::kOr);
      Skip();
      ASSIGN_OR_RETURN(ExpressionPtr right, ParseAnd());
      left = With(std::move(made), std::move(left), std::move(right));
    }
    return left;
  }

  absl::StatusOr<ExpressionPtr> ParseAnd() {
    ASSIGN_OR_RETURN(ExpressionPtr left, ParseNot());
    for (int n = 0; IsName("and"); ++n) {
      RETURN_IF_ERROR(CheckChain(n));
      ExpressionPtr made = Make(Expression::Kind::kAnd);
      Skip();
      ASSIGN_OR_RETURN(ExpressionPtr right, ParseNot());
      left = With(std::move(made), std::move(left), std::move(right));
    }
    return left;
  }

  absl::StatusOr<ExpressionPtr> ParseNot() {
    if (!IsName("not")) return ParseCompare();
    const Depth depth(&depth_);
    RETURN_IF_ERROR(CheckDepth());
    ExpressionPtr made = Make(Expression::Kind::kNot);
    Skip();
    ASSIGN_OR_RETURN(ExpressionPtr value, ParseNot());
    return With(std::move(made), std::move(value));
  }

  absl::StatusOr<ExpressionPtr> ParseCompare() {
    ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
    ExpressionPtr made = Make(Expression::Kind::kCompare);
    made->children.push_back(std::move(first));
    while (true) {
      static constexpr absl::string_view kCompare[] = {"==", "!=", "<", "<=", ">", ">="};
      if (Now().kind == Kind::kOperator &&
          std::find(std::begin(kCompare), std::end(kCompare), Now().text) != std::end(kCompare)) {
        made->operators.push_back(Now().text);
        Skip();
      } else if (TakeName("in")) {
        made->operators.emplace_back("in");
      } else if (IsName("not") && Later().kind == Kind::kName && Later().text == "in") {
        Skip();
        Skip();
        made->operators.emplace_back("not in");
      } else {
        break;
      }
      ASSIGN_OR_RETURN(ExpressionPtr next, ParseSum());
      made->children.push_back(std::move(next));
    }
    if (!made->operators.empty()) return made;
    ExpressionPtr only = std::move(made->children[0]);
    return only;
  }

  using Level = absl::StatusOr<ExpressionPtr> (Parser::*)();
  absl::StatusOr<ExpressionPtr> ParseBinary(const Names& operators, Level next) {
    ASSIGN_OR_RETURN(ExpressionPtr left, (this->*next)());
    for (int n = 0; Now().kind == Kind::kOperator &&
                    std::find(operators.begin(), operators.end(), Now().text) != operators.end();
         ++n) {
      RETURN_IF_ERROR(CheckChain(n));
      ExpressionPtr made = Make(Expression::Kind::kBinary);
      made->name = Now().text;
      Skip();
      ASSIGN_OR_RETURN(ExpressionPtr right, (this->*next)());
      left = With(std::move(made), std::move(left), std::move(right));
    }
    return left;
  }

  absl::StatusOr<ExpressionPtr> ParseSum() { return ParseBinary({"+", "-"}, &Parser::ParseConcat); }

  absl::StatusOr<ExpressionPtr> ParseConcat() {
    ASSIGN_OR_RETURN(ExpressionPtr first, ParseProduct());
    if (!IsOperator("~")) return first;
    ExpressionPtr made = With(Make(Expression::Kind::kConcat), std::move(first));
    while (TakeOperator("~")) {
      ASSIGN_OR_RETURN(ExpressionPtr next, ParseProduct());
      made->children.push_back(std::move(next));
    }
    return made;
  }

  absl::StatusOr<ExpressionPtr> ParseProduct() {
    return ParseBinary({"*", "/", "//", "%"}, &Parser::ParsePower);
  }
  absl::StatusOr<ExpressionPtr> ParsePower() { return ParseBinary({"**"}, &Parser::ParseFiltered); }
  absl::StatusOr<ExpressionPtr> ParseFiltered() { return ParseUnary(/*with_filter=*/true); }

  absl::StatusOr<ExpressionPtr> ParseUnary(bool with_filter) {
    const Depth depth(&depth_);
    RETURN_IF_ERROR(CheckDepth());
    ExpressionPtr value;
    if (IsOperator("-") || IsOperator("+")) {
      value = Make(IsOperator("-") ? Expression::Kind::kNegative : Expression::Kind::kPositive);
      Skip();
      ASSIGN_OR_RETURN(ExpressionPtr inner, ParseUnary(/*with_filter=*/false));
      value->children.push_back(std::move(inner));
    } else {
      ASSIGN_OR_RETURN(value, ParsePrimary());
    }
    return ParsePostfix(std::move(value), with_filter);
  }

  absl::StatusOr<ExpressionPtr> ParsePrimary() {
    ExpressionPtr made = Make(Expression::Kind::kConstant);
    const Token token = Now();
    if (token.kind == Kind::kName) {
      Skip();
      if (token.text == "true" || token.text == "True") {
        made->constant = Value::Bool(true);
      } else if (token.text == "false" || token.text == "False") {
        made->constant = Value::Bool(false);
      } else if (token.text == "none" || token.text == "None") {
        made->constant = Value::None();
      } else {
        made->kind = Expression::Kind::kName;
        made->name = token.text;
      }
      return made;
    }
    if (token.kind == Kind::kString) {
      std::string text;
      for (; Now().kind == Kind::kString; Skip()) text += Now().text;
      made->constant = Value::Text(std::move(text));
      return made;
    }
    if (token.kind == Kind::kNumber) {
      Skip();
      made->constant = token.number;
      return made;
    }
    if (TakeOperator("(")) {
      ASSIGN_OR_RETURN(made, ParseTuple(true, {}, /*in_parentheses=*/true));
      RETURN_IF_ERROR(Expect(")"));
      return made;
    }
    if (TakeOperator("[")) {
      made->kind = Expression::Kind::kList;
      while (!IsOperator("]")) {
        if (!made->children.empty()) RETURN_IF_ERROR(Expect(","));
        if (IsOperator("]")) break;
        ASSIGN_OR_RETURN(ExpressionPtr child, ParseExpression(true));
        made->children.push_back(std::move(child));
      }
      RETURN_IF_ERROR(Expect("]"));
      return made;
    }
    if (TakeOperator("{")) {
      made->kind = Expression::Kind::kDict;
      while (!IsOperator("}")) {
        if (!made->children.empty()) RETURN_IF_ERROR(Expect(","));
        if (IsOperator("}")) break;
        ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression(true));
        RETURN_IF_ERROR(Expect(":"));
        ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression(true));
        made->children.push_back(std::move(key));
        made->children.push_back(std::move(value));
      }
      RETURN_IF_ERROR(Expect("}"));
      return made;
    }
    return Unexpected("an expression");
  }

  // Attributes, items, calls; filters and tests, too, behind which only calls may stand.
  absl::StatusOr<ExpressionPtr> ParsePostfix(ExpressionPtr value, bool with_filter) {
    int length = 0;
    for (; IsOperator(".") || IsOperator("[") || IsOperator("("); ++length) {
      RETURN_IF_ERROR(CheckChain(length));
      if (IsOperator("(")) {
        ASSIGN_OR_RETURN(value, ParseCall(std::move(value)));
      } else {
        ASSIGN_OR_RETURN(value, ParseItem(std::move(value)));
      }
    }
    for (; with_filter && (IsOperator("|") || IsName("is") || IsOperator("(")); ++length) {
      RETURN_IF_ERROR(CheckChain(length));
      if (IsOperator("(")) {
        ASSIGN_OR_RETURN(value, ParseCall(std::move(value)));
      } else if (IsOperator("|")) {
        ASSIGN_OR_RETURN(value, ParseFilter(std::move(value)));
      } else {
        ASSIGN_OR_RETURN(value, ParseTest(std::move(value)));
      }
    }
    return value;
  }

  absl::StatusOr<ExpressionPtr> ParseItem(ExpressionPtr value) {
    ExpressionPtr made = Make(Expression::Kind::kItem);
    if (TakeOperator(".")) {
      if (Now().kind == Kind::kNumber) {
        ExpressionPtr index = Make(Expression::Kind::kConstant);
        index->constant = Now().number;
        Skip();
        return With(std::move(made), std::move(value), std::move(index));
      }
      made->kind = Expression::Kind::kAttribute;
      ASSIGN_OR_RETURN(made->name, ExpectName());
      return With(std::move(made), std::move(value));
    }
    Skip();
    ExpressionPtr tuple = Make(Expression::Kind::kTuple);
    while (!IsOperator("]")) {
      if (!tuple->children.empty()) RETURN_IF_ERROR(Expect(","));
      ASSIGN_OR_RETURN(ExpressionPtr index, ParseIndex());
      tuple->children.push_back(std::move(index));
    }
    RETURN_IF_ERROR(Expect("]"));
    if (tuple->children.empty()) return Fault("expected an index in []");
    ExpressionPtr index =
        tuple->children.size() == 1 ? std::move(tuple->children[0]) : std::move(tuple);
    return With(std::move(made), std::move(value), std::move(index));
  }

  absl::StatusOr<ExpressionPtr> ParseIndex() {
    ExpressionPtr slice = Make(Expression::Kind::kSlice);
    slice->children.resize(3);
    if (!IsOperator(":")) {
      ASSIGN_OR_RETURN(slice->children[0], ParseExpression(true));
      if (!IsOperator(":")) {
        ExpressionPtr only = std::move(slice->children[0]);
        return only;
      }
    }
    for (int part = 1; part < 3 && TakeOperator(":"); ++part) {
      if (IsOperator(":") || IsOperator("]") || IsOperator(",")) continue;
      ASSIGN_OR_RETURN(slice->children[part], ParseExpression(true));
    }
    return slice;
  }

  absl::Status ParseArguments(Expression* call) {
    RETURN_IF_ERROR(Expect("("));
    bool first = true;
    while (!IsOperator(")")) {
      if (!first) RETURN_IF_ERROR(Expect(","));
      first = false;
      if (IsOperator(")")) break;
      if (IsOperator("*") || IsOperator("**")) return Fault("* in a call is not supported");
      if (Now().kind == Kind::kName && Later().kind == Kind::kOperator && Later().text == "=") {
        std::string name = Now().text;
        Skip();
        Skip();
        ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression(true));
        call->named_arguments.emplace_back(std::move(name), std::move(value));
      } else {
        if (!call->named_arguments.empty()) {
          return Fault("a positional argument follows a named one");
        }
        ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression(true));
        call->arguments.push_back(std::move(value));
      }
    }
    return Expect(")");
  }

  absl::StatusOr<ExpressionPtr> ParseCall(ExpressionPtr value) {
    ExpressionPtr made = With(Make(Expression::Kind::kCall), std::move(value));
    RETURN_IF_ERROR(ParseArguments(made.get()));
    return made;
  }

  absl::StatusOr<ExpressionPtr> ParseFilter(ExpressionPtr value) {
    ExpressionPtr made = With(Make(Expression::Kind::kFilter), std::move(value));
    Skip();
    ASSIGN_OR_RETURN(made->name, ExpectName());
    if (IsOperator("(")) RETURN_IF_ERROR(ParseArguments(made.get()));
    return made;
  }

  absl::StatusOr<ExpressionPtr> ParseTest(ExpressionPtr value) {
    ExpressionPtr made = With(Make(Expression::Kind::kTest), std::move(value));
    Skip();
    const bool negated = TakeName("not");
    ASSIGN_OR_RETURN(made->name, ExpectName());
    const bool begins_primary = Now().kind == Kind::kName || Now().kind == Kind::kString ||
                                Now().kind == Kind::kNumber || IsOperator("[") || IsOperator("{");
    if (IsOperator("(")) {
      RETURN_IF_ERROR(ParseArguments(made.get()));
    } else if (begins_primary && !IsName("else") && !IsName("or") && !IsName("and")) {
      if (IsName("is")) return Fault("a test behind a test needs parentheses");
      ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
      ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument), /*with_filter=*/false));
      made->arguments.push_back(std::move(argument));
    }
    if (!negated) return made;
    return With(Make(Expression::Kind::kNot), std::move(made));
  }

  std::vector<bool> loops_;  // of the bodies around, whether each is a loop's
};

}  // namespace

absl::StatusOr<Body> ParseTemplate(absl::string_view source, const std::string& origin,
                                   JinjaEnvironment environment) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source, origin, environment));
  return Parser(std::move(tokens), origin).Run();
}

}  // namespace wyvern::jinja
