#include "data/chat/jinja.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja_arguments.h"
#include "data/chat/jinja_builtins.h"
#include "data/chat/jinja_syntax.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace jinja {
namespace {

using Result = absl::StatusOr<Value>;

constexpr int64_t kMaxSteps = 2'000'000;
constexpr int kMaxCallDepth = 100;
// The value of a condition without else, which no environment refuses.
constexpr char kNoElse[] = "a condition without else";

// The variables of one scope; those of outer ones are seen through it.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::string, Value>> variables;

  void Set(const std::string& name, Value value) {
    for (auto& [known, old] : variables) {
      if (known == name) {
        old = std::move(value);
        return;
      }
    }
    variables.emplace_back(name, std::move(value));
  }
  const Value* Find(const std::string& name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->outer.get()) {
      for (const auto& [known, value] : scope->variables) {
        if (known == name) return &value;
      }
    }
    return nullptr;
  }
};
using ScopePtr = std::shared_ptr<Scope>;

ScopePtr Inside(const ScopePtr& outer) { return std::make_shared<Scope>(Scope{outer, {}}); }

// The variable `loop` in the body of a loop over `items`.
Value LoopVariable(const List& items, size_t i) {
  const auto index = static_cast<int64_t>(i), size = static_cast<int64_t>(items.size());
  auto loop = std::make_shared<Namespace>();
  loop->members = {
      {"index", Value::Int(index + 1)},
      {"index0", Value::Int(index)},
      {"revindex", Value::Int(size - index)},
      {"revindex0", Value::Int(size - index - 1)},
      {"first", Value::Bool(i == 0)},
      {"last", Value::Bool(index + 1 == size)},
      {"length", Value::Int(size)},
      {"depth", Value::Int(1)},
      {"depth0", Value::Int(0)},
      {"previtem", i > 0 ? items[i - 1] : Value::Undefined("there is no previous item")},
      {"nextitem", index + 1 < size ? items[i + 1] : Value::Undefined("there is no next item")},
      {"cycle", Value::Of(Function{"cycle",
                                   [i](const Arguments& arguments) -> Result {
                                     if (arguments.positional.empty() || !arguments.named.empty()) {
                                       return absl::InvalidArgumentError(
                                           "loop.cycle: expected the values to go through");
                                     }
                                     return arguments.positional[i % arguments.positional.size()];
                                   }})},
  };
  return Value::Of(std::move(loop));
}

// One rendering.
class Renderer {
 public:
  Renderer(const std::string& origin, JinjaEnvironment environment)
      : origin_(origin), is_strict_(environment == JinjaEnvironment::kTask) {}

  absl::StatusOr<JinjaText> Run(const Body& body, const ScopePtr& scope) {
    JinjaText out;
    RETURN_IF_ERROR(RunBody(body, scope, &out).status());
    return out;
  }

 private:
  enum class Flow { kOn, kBreak, kContinue };
  using FlowResult = absl::StatusOr<Flow>;

  absl::Status Step() {
    if (++steps_ <= kMaxSteps) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("the template takes more than ", kMaxSteps, " steps"));
  }

  // A value that is used: a strict environment refuses one that is undefined.
  absl::Status CheckUsed(const Value& value) const {
    const bool is_refused = is_strict_ && value.is_undefined() && value.undefined_name() != kNoElse;
    return is_refused ? IsUndefined(value) : absl::OkStatus();
  }

  // The line of the innermost statement is named, once.
  absl::Status AtLine(int line, const absl::Status& status) {
    if (has_line_) return status;
    has_line_ = true;
    return absl::InvalidArgumentError(absl::StrCat(origin_, ":", line, ": ", status.message()));
  }

  FlowResult RunBody(const Body& body, const ScopePtr& scope, JinjaText* out) {
    for (const Statement& statement : body) {
      const FlowResult flow = RunStatement(statement, scope, out);
      if (!flow.ok()) return AtLine(statement.line, flow.status());
      if (*flow != Flow::kOn) return flow;
    }
    return Flow::kOn;
  }

  FlowResult RunStatement(const Statement& s, const ScopePtr& scope, JinjaText* out) {
    RETURN_IF_ERROR(Step());
    switch (s.kind) {
      case Statement::Kind::kText:
        RETURN_IF_ERROR(Write(s.text, out));
        return Flow::kOn;
      case Statement::Kind::kPrint: {
        ASSIGN_OR_RETURN(const Value value, Evaluate(*s.expression, scope));
        RETURN_IF_ERROR(CheckUsed(value));
        ASSIGN_OR_RETURN(const std::string text, ToText(value));
        RETURN_IF_ERROR(Write(text, out));
        return Flow::kOn;
      }
      case Statement::Kind::kIf:
        for (size_t i = 0; i < s.bodies.size(); ++i) {
          bool taken = i == s.conditions.size();  // else
          if (!taken) {
            ASSIGN_OR_RETURN(taken, Truth(*s.conditions[i], scope));
          }
          if (taken) return RunBody(s.bodies[i], scope, out);
        }
        return Flow::kOn;
      case Statement::Kind::kFor:
        return RunFor(s, scope, out);
      case Statement::Kind::kSet: {
        ASSIGN_OR_RETURN(Value value, Evaluate(*s.expression, scope));
        RETURN_IF_ERROR(Assign(s.target, std::move(value), scope));
        return Flow::kOn;
      }
      case Statement::Kind::kSetBlock: {
        ASSIGN_OR_RETURN(std::string text, Capture(s.bodies[0], Inside(scope)));
        RETURN_IF_ERROR(Assign(s.target, Value::Text(std::move(text)), scope));
        return Flow::kOn;
      }
      case Statement::Kind::kMacro:
        scope->Set(s.text, Macro(s, scope));
        return Flow::kOn;
      case Statement::Kind::kGeneration: {
        if (is_captured_) {
          return absl::InvalidArgumentError(
              "{% generation %} in a macro or a set block is not supported");
        }
        const size_t begin = out->text.size();
        RETURN_IF_ERROR(RunBody(s.bodies[0], Inside(scope), out).status());
        out->generations.emplace_back(begin, out->text.size());
        return Flow::kOn;
      }
      case Statement::Kind::kBreak:
        return Flow::kBreak;
      case Statement::Kind::kContinue:
        return Flow::kContinue;
    }
    return absl::InternalError("a statement of no kind");
  }

  static absl::Status Write(const std::string& text, JinjaText* out) {
    if (out->text.size() + text.size() > kMaxTextBytes)
      return BoundedText(out->text + text).status();
    out->text += text;
    return absl::OkStatus();
  }

  FlowResult RunFor(const Statement& s, const ScopePtr& scope, JinjaText* out) {
    ASSIGN_OR_RETURN(const Value iterated, Evaluate(*s.expression, scope));
    RETURN_IF_ERROR(CheckUsed(iterated));
    ASSIGN_OR_RETURN(List items, Elements(iterated));
    if (!s.conditions.empty()) {
      List kept;
      for (Value& item : items) {
        const ScopePtr inside = Inside(scope);
        RETURN_IF_ERROR(Assign(s.target, item, inside));
        ASSIGN_OR_RETURN(const bool keep, Truth(*s.conditions[0], inside));
        if (keep) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    // As in Jinja2: else, too, where no round went to the end of the body.
    bool is_through = false;
    for (size_t i = 0; i < items.size(); ++i) {
      RETURN_IF_ERROR(Step());
      const ScopePtr inside = Inside(scope);
      inside->Set("loop", LoopVariable(items, i));
      RETURN_IF_ERROR(Assign(s.target, items[i], inside));
      ASSIGN_OR_RETURN(const Flow flow, RunBody(s.bodies[0], inside, out));
      if (flow == Flow::kBreak) break;
      is_through = is_through || flow == Flow::kOn;
    }
    if (!is_through) return RunBody(s.bodies[1], Inside(scope), out);
    return Flow::kOn;
  }

  absl::Status Assign(const Target& target, Value value, const ScopePtr& scope) {
    if (!target.parts.empty()) {
      ASSIGN_OR_RETURN(const List items, Elements(value));
      if (items.size() != target.parts.size()) {
        return absl::InvalidArgumentError(absl::StrCat("expected ", target.parts.size(),
                                                       " values to assign, got ", items.size()));
      }
      for (size_t i = 0; i < items.size(); ++i) {
        RETURN_IF_ERROR(Assign(target.parts[i], items[i], scope));
      }
      return absl::OkStatus();
    }
    if (target.attribute.empty()) {
      scope->Set(target.name, std::move(value));
      return absl::OkStatus();
    }
    const Value* found = scope->Find(target.name);
    Namespace* space = found == nullptr ? nullptr : found->as_namespace();
    if (space == nullptr || target.name == "loop") {
      return absl::InvalidArgumentError(absl::StrCat("cannot set '", target.name, ".",
                                                     target.attribute, "': it is no namespace"));
    }
    for (auto& [name, old] : space->members) {
      if (name == target.attribute) {
        old = std::move(value);
        return absl::OkStatus();
      }
    }
    space->members.emplace_back(target.attribute, std::move(value));
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Capture(const Body& body, const ScopePtr& scope) {
    JinjaText text;
    const bool was_captured = std::exchange(is_captured_, true);
    const FlowResult flow = RunBody(body, scope, &text);
    is_captured_ = was_captured;
    RETURN_IF_ERROR(flow.status());
    return std::move(text.text);
  }

  // Sees the variables of the scope where it is defined, which keeps it alive: a weak reference
  // avoids the circle, and a scope lives as long as what can call its macros.
  Value Macro(const Statement& s, const ScopePtr& scope) {
    const std::weak_ptr<Scope> defined = scope;
    return Value::Of(
        Function{s.text, [this, &s, defined](const Arguments& arguments) -> Result {
                   const ScopePtr outer = defined.lock();
                   if (outer == nullptr) {
                     return absl::InvalidArgumentError(absl::StrCat(
                         "the macro '", s.text, "' is called outside the scope it is defined in"));
                   }
                   if (call_depth_ >= kMaxCallDepth) {
                     return absl::InvalidArgumentError(absl::StrCat(
                         "macros call one another more than ", kMaxCallDepth, " levels deep"));
                   }
                   ASSIGN_OR_RETURN(const BoundArguments bound,
                                    BoundArguments::Bind(s.text, arguments, s.parameters));
                   const ScopePtr inside = Inside(outer);
                   const size_t first_default = s.parameters.size() - s.defaults.size();
                   for (size_t i = 0; i < s.parameters.size(); ++i) {
                     Value value = bound[i];
                     if (!bound.Has(i)) {
                       value = Value::Undefined(s.parameters[i]);
                       if (i >= first_default) {
                         ASSIGN_OR_RETURN(value, Evaluate(*s.defaults[i - first_default], inside));
                       }
                     }
                     inside->Set(s.parameters[i], std::move(value));
                   }
                   ++call_depth_;
                   absl::StatusOr<std::string> text = Capture(s.bodies[0], inside);
                   --call_depth_;
                   RETURN_IF_ERROR(text.status());
                   return Value::Text(*std::move(text));
                 }});
  }

  absl::StatusOr<bool> Truth(const Expression& e, const ScopePtr& scope) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(e, scope));
    RETURN_IF_ERROR(CheckUsed(value));
    return value.Truth();
  }

  absl::StatusOr<List> EvaluateAll(const std::vector<ExpressionPtr>& expressions,
                                   const ScopePtr& scope) {
    List values;
    for (const ExpressionPtr& expression : expressions) {
      ASSIGN_OR_RETURN(Value value, Evaluate(*expression, scope));
      values.push_back(std::move(value));
    }
    return values;
  }

  absl::StatusOr<Arguments> EvaluateArguments(const Expression& e, const ScopePtr& scope) {
    Arguments arguments;
    ASSIGN_OR_RETURN(arguments.positional, EvaluateAll(e.arguments, scope));
    for (const auto& [name, expression] : e.named_arguments) {
      ASSIGN_OR_RETURN(Value value, Evaluate(*expression, scope));
      arguments.named.emplace_back(name, std::move(value));
    }
    return arguments;
  }

  Result Evaluate(const Expression& e, const ScopePtr& scope) {
    RETURN_IF_ERROR(Step());
    using Kind = Expression::Kind;
    switch (e.kind) {
      case Kind::kConstant:
        return e.constant;
      case Kind::kName: {
        const Value* found = scope->Find(e.name);
        if (found == nullptr) found = FindGlobal(e.name);
        return found == nullptr ? Value::Undefined(e.name) : *found;
      }
      case Kind::kList:
      case Kind::kTuple: {
        ASSIGN_OR_RETURN(List items, EvaluateAll(e.children, scope));
        return Value::Of(e.kind == Kind::kList ? Sequence::Type::kList : Sequence::Type::kTuple,
                         std::move(items));
      }
      case Kind::kDict:
        return EvaluateDict(e, scope);
      case Kind::kAttribute: {
        ASSIGN_OR_RETURN(const Value value, Evaluate(*e.children[0], scope));
        return Attribute(value, e.name);
      }
      case Kind::kItem:
        return EvaluateItem(e, scope);
      case Kind::kSlice:
        return absl::InvalidArgumentError("a slice within an index of several parts");
      case Kind::kCall:
        return EvaluateCall(e, scope);
      case Kind::kFilter: {
        ASSIGN_OR_RETURN(const Value value, Evaluate(*e.children[0], scope));
        if (e.name != "default" && e.name != "d") RETURN_IF_ERROR(CheckUsed(value));
        ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(e, scope));
        return ApplyFilter(e.name, value, arguments);
      }
      case Kind::kTest: {
        ASSIGN_OR_RETURN(const Value value, Evaluate(*e.children[0], scope));
        if (e.name != "defined" && e.name != "undefined") RETURN_IF_ERROR(CheckUsed(value));
        ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(e, scope));
        ASSIGN_OR_RETURN(const bool result, ApplyTest(e.name, value, arguments));
        return Value::Bool(result);
      }
      case Kind::kNot: {
        ASSIGN_OR_RETURN(const bool value, Truth(*e.children[0], scope));
        return Value::Bool(!value);
      }
      case Kind::kNegative:
      case Kind::kPositive: {
        ASSIGN_OR_RETURN(const Value value, Evaluate(*e.children[0], scope));
        if (value.as_float() != nullptr) {
          return Value::Float(e.kind == Kind::kNegative ? -*value.as_float() : *value.as_float());
        }
        return Calculate(e.kind == Kind::kNegative ? "-" : "+", Value::Int(0), value);
      }
      case Kind::kAnd:
      case Kind::kOr: {
        ASSIGN_OR_RETURN(const Value left, Evaluate(*e.children[0], scope));
        RETURN_IF_ERROR(CheckUsed(left));
        if (left.Truth() == (e.kind == Kind::kOr)) return left;
        return Evaluate(*e.children[1], scope);
      }
      case Kind::kConditional: {
        ASSIGN_OR_RETURN(const bool condition, Truth(*e.children[0], scope));
        if (condition) return Evaluate(*e.children[1], scope);
        if (e.children[2] != nullptr) return Evaluate(*e.children[2], scope);
        return Value::Undefined(kNoElse);
      }
      case Kind::kConcat: {
        std::string text;
        for (const ExpressionPtr& child : e.children) {
          ASSIGN_OR_RETURN(const Value value, Evaluate(*child, scope));
          RETURN_IF_ERROR(CheckUsed(value));
          ASSIGN_OR_RETURN(const std::string part, ToText(value));
          text += part;
        }
        return BoundedText(std::move(text));
      }
      case Kind::kBinary: {
        ASSIGN_OR_RETURN(const Value left, Evaluate(*e.children[0], scope));
        ASSIGN_OR_RETURN(const Value right, Evaluate(*e.children[1], scope));
        return Calculate(e.name, left, right);
      }
      case Kind::kCompare: {
        ASSIGN_OR_RETURN(Value left, Evaluate(*e.children[0], scope));
        RETURN_IF_ERROR(CheckUsed(left));
        for (size_t i = 0; i < e.operators.size(); ++i) {
          ASSIGN_OR_RETURN(Value right, Evaluate(*e.children[i + 1], scope));
          RETURN_IF_ERROR(CheckUsed(right));
          ASSIGN_OR_RETURN(const bool holds, Compare(e.operators[i], left, right));
          if (!holds) return Value::Bool(false);
          left = std::move(right);
        }
        return Value::Bool(true);
      }
    }
    return absl::InternalError("an expression of no kind");
  }

  Result EvaluateDict(const Expression& e, const ScopePtr& scope) {
    Dict dict;
    for (size_t i = 0; i < e.children.size(); i += 2) {
      ASSIGN_OR_RETURN(Value key, Evaluate(*e.children[i], scope));
      ASSIGN_OR_RETURN(Value value, Evaluate(*e.children[i + 1], scope));
      if (key.is_list() || key.as_dict() != nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("a value of type ", key.TypeName(), " cannot be a key"));
      }
      const auto found = std::find_if(dict.begin(), dict.end(),
                                      [&](const auto& member) { return Equal(member.first, key); });
      if (found == dict.end()) {
        dict.emplace_back(std::move(key), std::move(value));
      } else {
        found->second = std::move(value);
      }
    }
    return Value::OfDict(std::move(dict));
  }

  Result EvaluateItem(const Expression& e, const ScopePtr& scope) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*e.children[0], scope));
    const Expression& index = *e.children[1];
    if (index.kind != Expression::Kind::kSlice) {
      ASSIGN_OR_RETURN(const Value at, Evaluate(index, scope));
      return Item(value, at);
    }
    Value bounds[3];
    for (int i = 0; i < 3; ++i) {
      if (index.children[i] == nullptr) continue;
      ASSIGN_OR_RETURN(bounds[i], Evaluate(*index.children[i], scope));
      if (bounds[i].is_undefined()) return IsUndefined(bounds[i]);
    }
    return Slice(value, bounds[0], bounds[1], bounds[2]);
  }

  Result EvaluateCall(const Expression& e, const ScopePtr& scope) {
    ASSIGN_OR_RETURN(const Value callee, Evaluate(*e.children[0], scope));
    ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(e, scope));
    if (callee.is_undefined()) return IsUndefined(callee);
    if (callee.as_function() == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("a value of type ", callee.TypeName(), " cannot be called"));
    }
    return callee.as_function()->call(arguments);
  }

  const std::string& origin_;
  const bool is_strict_;
  int64_t steps_ = 0;
  int call_depth_ = 0;
  bool is_captured_ = false;
  bool has_line_ = false;
};

bool HasGeneration(const Body& body) {
  return std::any_of(body.begin(), body.end(), [](const Statement& statement) {
    return statement.kind == Statement::Kind::kGeneration ||
           std::any_of(statement.bodies.begin(), statement.bodies.end(), HasGeneration);
  });
}

}  // namespace
}  // namespace jinja

struct JinjaTemplate::Parsed {
  std::string origin;
  JinjaEnvironment environment = JinjaEnvironment::kChat;
  jinja::Body body;
  bool has_generation = false;
};

JinjaTemplate::JinjaTemplate(std::unique_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
JinjaTemplate::JinjaTemplate(JinjaTemplate&&) noexcept = default;
JinjaTemplate& JinjaTemplate::operator=(JinjaTemplate&&) noexcept = default;
JinjaTemplate::~JinjaTemplate() = default;

absl::StatusOr<JinjaTemplate> JinjaTemplate::Parse(absl::string_view source,
                                                   const std::string& origin,
                                                   JinjaEnvironment environment) {
  auto parsed = std::make_unique<Parsed>();
  ASSIGN_OR_RETURN(parsed->body, jinja::ParseTemplate(source, origin, environment));
  parsed->environment = environment;
  parsed->origin = origin;
  parsed->has_generation = jinja::HasGeneration(parsed->body);
  return JinjaTemplate(std::move(parsed));
}

absl::StatusOr<JinjaText> JinjaTemplate::Render(
    const std::vector<std::pair<std::string, jinja::Value>>& variables) const {
  // Assignments of the template go to a scope of their own.
  const auto given = std::make_shared<jinja::Scope>(jinja::Scope{nullptr, variables});
  const auto scope = std::make_shared<jinja::Scope>(jinja::Scope{given, {}});
  return jinja::Renderer(parsed_->origin, parsed_->environment).Run(parsed_->body, scope);
}

bool JinjaTemplate::has_generation() const { return parsed_->has_generation; }

}  // namespace wyvern
