// The syntax tree of a chat template, and its parser.
#ifndef WYVERN_DATA_CHAT_JINJA_SYNTAX_H_
#define WYVERN_DATA_CHAT_JINJA_SYNTAX_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/chat/jinja_environment.h"
#include "data/chat/jinja_value.h"

namespace wyvern::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    kConstant,   // constant
    kName,       // name
    kList,       // children
    kTuple,      // children
    kDict,       // children: keys and values in turn
    kAttribute,  // children[0].name
    kItem,       // children[0][children[1]]
    kSlice,      // children: start, stop, step; null where left out
    kCall,       // children[0](arguments)
    kFilter,     // children[0] | name(arguments)
    kTest,       // children[0] is name(arguments)
    kNot,        // of children[0], likewise the next two
    kNegative,
    kPositive,
    kAnd,  // of both children, likewise the next
    kOr,
    kConditional,  // children[1] if children[0] else children[2]; null: undefined
    kConcat,       // children ~ children ...
    kBinary,       // children[0] name children[1]; name is one of + - * / // % **
    kCompare,      // children[0] operators[0] children[1] operators[1] ...
  };
  Kind kind = Kind::kConstant;
  int line = 0;
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> children;
  std::vector<ExpressionPtr> arguments;
  std::vector<std::pair<std::string, ExpressionPtr>> named_arguments;
  std::vector<std::string> operators;
};

// The receiver of an assignment: a name, a member of a namespace, or parts of a tuple.
struct Target {
  std::string name;
  std::string attribute;      // of the namespace `name`
  std::vector<Target> parts;  // a tuple, if there are any
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum class Kind {
    kText,        // text
    kPrint,       // {{ expression }}
    kIf,          // conditions[i] guards bodies[i]; one body more than conditions: else
    kFor,         // for target in expression if condition; bodies: the loop's, and that of else
    kSet,         // target = expression
    kSetBlock,    // target = what bodies[0] writes
    kMacro,       // macro text(parameters), whose last ones have defaults
    kGeneration,  // bodies[0], which the model is to learn to write
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  int line = 0;
  std::string text;
  ExpressionPtr expression;
  Target target;
  std::vector<ExpressionPtr> conditions;
  std::vector<Body> bodies;
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;
};

// Parses Jinja2 with break and continue, and {% generation %}, as transformers knows it. Errors
// (InvalidArgument, "ORIGIN:LINE: ...") name faults of syntax, and statements of Jinja2 that chat
// templates do not use: include, import, block, call, filter and the like.
absl::StatusOr<Body> ParseTemplate(absl::string_view source, const std::string& origin,
                                   JinjaEnvironment environment);

}  // namespace wyvern::jinja

#endif  // WYVERN_DATA_CHAT_JINJA_SYNTAX_H_
