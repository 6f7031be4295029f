// Tests (`is ...`) and functions of chat templates (jinja_builtins.h).
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "data/chat/jinja_arguments.h"
#include "data/chat/jinja_builtins.h"
#include "kernels/runtime/status.h"

namespace wyvern::jinja {
namespace {

using Result = absl::StatusOr<bool>;

bool IsInteger(const Value& value) {
  int64_t integer = 0;
  return value.as_bool() == nullptr && value.AsInt(&integer);
}

bool IsNumber(const Value& value) {
  double number = 0;
  return value.AsNumber(&number);
}

bool IsSequenceTest(const Value& value) {
  if (value.as_sequence() != nullptr) {
    return value.is_list() || value.is_tuple() ||
           value.as_sequence()->type == Sequence::Type::kRange;
  }
  // Jinja2 takes what is undefined for a sequence, which has a length and an index.
  return value.as_text() != nullptr || value.as_dict() != nullptr || value.is_undefined();
}

// The tests without an argument.
const std::map<std::string, bool (*)(const Value&)>& PlainTests() {
  using Test = bool (*)(const Value&);
  static const auto* tests = new std::map<std::string, Test>{
      {"boolean", [](const Value& v) { return v.as_bool() != nullptr; }},
      {"callable", [](const Value& v) { return v.as_function() != nullptr; }},
      {"defined", [](const Value& v) { return !v.is_undefined(); }},
      {"false", [](const Value& v) { return v.as_bool() != nullptr && !*v.as_bool(); }},
      {"float", [](const Value& v) { return v.as_float() != nullptr; }},
      {"integer", IsInteger},
      {"iterable",
       [](const Value& v) {
         return v.is_undefined() || v.as_text() != nullptr || v.as_dict() != nullptr ||
                v.as_sequence() != nullptr;
       }},
      {"mapping", [](const Value& v) { return v.as_dict() != nullptr; }},
      {"none", [](const Value& v) { return v.is_none(); }},
      {"number", IsNumber},
      {"sequence", IsSequenceTest},
      {"string", [](const Value& v) { return v.as_text() != nullptr; }},
      {"true", [](const Value& v) { return v.as_bool() != nullptr && *v.as_bool(); }},
      {"undefined", [](const Value& v) { return v.is_undefined(); }},
  };
  return *tests;
}

// Tests that compare with one argument, by all their names.
const std::map<std::string, std::string>& Comparisons() {
  static const auto* comparisons = new std::map<std::string, std::string>{
      {"!=", "!="}, {"<", "<"},           {"<=", "<="},      {"==", "=="},
      {">", ">"},   {">=", ">="},         {"eq", "=="},      {"equalto", "=="},
      {"ge", ">="}, {"greaterthan", ">"}, {"gt", ">"},       {"in", "in"},
      {"le", "<="}, {"lt", "<"},          {"lessthan", "<"}, {"ne", "!="},
  };
  return *comparisons;
}

absl::StatusOr<bool> Remainder(const Value& value, int64_t divisor, int64_t expected) {
  ASSIGN_OR_RETURN(const Value rest, Calculate("%", value, Value::Int(divisor)));
  return Equal(rest, Value::Int(expected));
}

absl::StatusOr<Value> MakeRange(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("range", arguments, {"start", "stop", "step"}, 1));
  ASSIGN_OR_RETURN(int64_t start, bound.Int(0, 0));
  ASSIGN_OR_RETURN(int64_t stop, bound.Int(1, 0));
  ASSIGN_OR_RETURN(const int64_t step, bound.Int(2, 1));
  if (!bound.Has(1)) std::swap(start, stop);
  if (step == 0) return absl::InvalidArgumentError("range: the step is 0");
  constexpr size_t kMaxRange = 100000;  // Jinja2's sandbox has the same
  List items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (items.size() == kMaxRange) {
      return absl::InvalidArgumentError(absl::StrCat("range: more than ", kMaxRange, " elements"));
    }
    items.push_back(Value::Int(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value::Of(Sequence::Type::kRange, std::move(items));
}

// The members of a dict given by position, then those given by name.
absl::StatusOr<Dict> MakeMembers(const std::string& function, const Arguments& arguments) {
  Dict members;
  const auto set = [&](const Value& key, const Value& value) {
    const auto found = std::find_if(members.begin(), members.end(),
                                    [&](const auto& member) { return Equal(member.first, key); });
    if (found == members.end()) {
      members.emplace_back(key, value);
    } else {
      found->second = value;
    }
  };
  for (const Value& given : arguments.positional) {
    if (given.as_dict() == nullptr || arguments.positional.size() > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(function, ": expected one dict, and arguments by name"));
    }
    for (const auto& [key, value] : *given.as_dict()) set(key, value);
  }
  for (const auto& [name, value] : arguments.named) set(Value::Text(name), value);
  return members;
}

absl::StatusOr<Value> MakeNamespace(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Dict members, MakeMembers("namespace", arguments));
  auto space = std::make_shared<Namespace>();
  for (const auto& [key, value] : members) {
    if (key.as_text() == nullptr) {
      return absl::InvalidArgumentError("namespace: a member's name is not a string");
    }
    space->members.emplace_back(*key.as_text(), value);
  }
  return Value::Of(std::move(space));
}

absl::StatusOr<Value> MakeDict(const Arguments& arguments) {
  ASSIGN_OR_RETURN(Dict members, MakeMembers("dict", arguments));
  return Value::OfDict(std::move(members));
}

absl::StatusOr<Value> RaiseException(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("raise_exception", arguments, {"message"}, 1));
  ASSIGN_OR_RETURN(const std::string message, ToText(bound[0]));
  return absl::InvalidArgumentError(absl::StrCat("the template refuses: ", message));
}

}  // namespace

absl::StatusOr<bool> ApplyTest(const std::string& name, const Value& value,
                               const Arguments& arguments) {
  const auto plain = PlainTests().find(name);
  if (plain != PlainTests().end()) {
    RETURN_IF_ERROR(BoundArguments::Bind(name, arguments, {}).status());
    return plain->second(value);
  }
  if (name == "odd" || name == "even") {
    RETURN_IF_ERROR(BoundArguments::Bind(name, arguments, {}).status());
    return Remainder(value, 2, name == "odd" ? 1 : 0);
  }
  if (name == "divisibleby") {
    ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(name, arguments, {"num"}, 1));
    ASSIGN_OR_RETURN(const int64_t divisor, bound.Int(0, 1));
    return Remainder(value, divisor, 0);
  }
  const auto comparison = Comparisons().find(name);
  if (comparison == Comparisons().end()) {
    return absl::InvalidArgumentError(absl::StrCat("the test '", name, "' is not supported"));
  }
  ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(name, arguments, {"other"}, 1));
  if (comparison->second == "in") return Contains(bound[0], value);
  return Compare(comparison->second, value, bound[0]);
}

absl::StatusOr<bool> Compare(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return Equal(a, b);
  if (op == "!=") return !Equal(a, b);
  if (op == "in") return Contains(b, a);
  if (op == "not in") {
    ASSIGN_OR_RETURN(const bool contains, Contains(b, a));
    return !contains;
  }
  if (a.is_undefined()) return IsUndefined(a);
  if (b.is_undefined()) return IsUndefined(b);
  double x = 0, y = 0;
  if (a.AsNumber(&x) && b.AsNumber(&y) && (std::isnan(x) || std::isnan(y))) return false;
  if (op == "<") return Less(a, b);
  if (op == ">") return Less(b, a);
  ASSIGN_OR_RETURN(const bool other, op == "<=" ? Less(b, a) : Less(a, b));
  return !other;
}

const Value* FindGlobal(const std::string& name) {
  static const auto* globals = new std::map<std::string, Value>{
      {"dict", Value::Of(Function{"dict", MakeDict})},
      {"namespace", Value::Of(Function{"namespace", MakeNamespace})},
      {"raise_exception", Value::Of(Function{"raise_exception", RaiseException})},
      {"range", Value::Of(Function{"range", MakeRange})},
  };
  const auto found = globals->find(name);
  return found == globals->end() ? nullptr : &found->second;
}

}  // namespace wyvern::jinja
