// Operators, members and slices of chat templates (jinja_builtins.h).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/chat/jinja_arguments.h"
#include "data/chat/jinja_builtins.h"
#include "data/chat/jinja_text_methods.h"
#include "kernels/runtime/status.h"

namespace wyvern::jinja {
namespace {

using Result = absl::StatusOr<Value>;

absl::Status Refused(const std::string& op, const Value& a, const Value& b) {
  if (a.is_undefined()) return IsUndefined(a);
  if (b.is_undefined()) return IsUndefined(b);
  return absl::InvalidArgumentError(
      absl::StrCat("'", op, "' is not defined for ", a.TypeName(), " and ", b.TypeName()));
}

absl::Status TooLarge(const std::string& op) {
  return absl::InvalidArgumentError(absl::StrCat("the result of '", op, "' is too large"));
}

Result Power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return absl::InvalidArgumentError("0 to a negative power");
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(result, base, &result)) return TooLarge("**");
    if (result == 0 || result == 1) {  // a base of 0 or 1
      break;
    }
    if (base == -1) return Value::Int(exponent % 2 == 0 ? 1 : -1);
  }
  return Value::Int(result);
}

Result CalculateInts(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    return Power(a, b);
  } else {
    if (b == 0) return absl::InvalidArgumentError("division by zero");
    if (op == "/") return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1) {
      if (op == "%") return Value::Int(0);
      overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
    } else {
      const int64_t remainder = a % b;
      const bool lower = remainder != 0 && (remainder < 0) != (b < 0);
      result = op == "//" ? a / b - (lower ? 1 : 0) : remainder + (lower ? b : 0);
    }
  }
  if (overflow) return TooLarge(op);
  return Value::Int(result);
}

Result CalculateFloats(const std::string& op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (op == "**") {
    const double power = std::pow(a, b);
    if (std::isnan(power) || (std::isinf(power) && std::isfinite(a) && std::isfinite(b))) {
      return TooLarge(op);
    }
    return Value::Float(power);
  }
  if (b == 0) return absl::InvalidArgumentError("division by zero");
  if (op == "/") return Value::Float(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (op == "%") return Value::Float(remainder == 0 ? std::copysign(0.0, b) : remainder);
  return Value::Float(std::round((a - remainder) / b));
}

Result Repeat(const Value& value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  if (value.as_text() != nullptr) {
    const std::string& text = *value.as_text();
    if (!text.empty() && static_cast<uint64_t>(count) > kMaxTextBytes / text.size()) {
      return TooLarge("*");
    }
    std::string repeated;
    for (int64_t i = 0; i < count && !text.empty(); ++i) repeated += text;
    return Value::Text(std::move(repeated));
  }
  const Sequence& sequence = *value.as_sequence();
  if (!sequence.items.empty() && static_cast<uint64_t>(count) > kMaxItems / sequence.items.size()) {
    return TooLarge("*");
  }
  List repeated;
  for (int64_t i = 0; i < count && !sequence.items.empty(); ++i) {
    repeated.insert(repeated.end(), sequence.items.begin(), sequence.items.end());
  }
  return Value::Of(sequence.type, std::move(repeated));
}

bool CanRepeat(const Value& value) {
  return value.as_text() != nullptr || value.is_list() || value.is_tuple();
}

Value DictMethod(const Value& dict, const std::string& name) {
  if (name == "get") {
    return Value::Of(Function{name, [dict](const Arguments& arguments) -> Result {
                                ASSIGN_OR_RETURN(
                                    const BoundArguments bound,
                                    BoundArguments::Bind("get", arguments, {"key", "default"}, 1));
                                if (const Value* found = dict.Find(bound[0])) return *found;
                                return bound.Has(1) ? bound[1] : Value::None();
                              }});
  }
  const bool has_members = name == "keys" || name == "values" || name == "items";
  if (has_members) {
    return Value::Of(Function{
        name, [dict, name](const Arguments& arguments) -> Result {
          RETURN_IF_ERROR(BoundArguments::Bind(name, arguments, {}).status());
          List members;
          for (const auto& [key, value] : *dict.as_dict()) {
            members.push_back(name == "keys"     ? key
                              : name == "values" ? value
                                                 : Value::Of(Sequence::Type::kTuple, {key, value}));
          }
          return Value::Of(name == "keys"     ? Sequence::Type::kKeys
                           : name == "values" ? Sequence::Type::kValues
                                              : Sequence::Type::kItems,
                           std::move(members));
        }});
  }
  if (name == "copy") {
    return Value::Of(Function{name, [dict](const Arguments& arguments) -> Result {
                                RETURN_IF_ERROR(
                                    BoundArguments::Bind("copy", arguments, {}).status());
                                return dict;
                              }});
  }
  return Value();
}

// The methods that Jinja2's sandbox refuses, as they change their object.
bool IsMutating(const Value& value, const std::string& name) {
  static constexpr absl::string_view kOfDict[] = {"clear",  "pop",        "popitem",
                                                  "update", "setdefault", "fromkeys"};
  static constexpr absl::string_view kOfList[] = {"append", "clear",  "extend",  "insert",
                                                  "pop",    "remove", "reverse", "sort"};
  if (value.as_dict() != nullptr) {
    return std::find(std::begin(kOfDict), std::end(kOfDict), name) != std::end(kOfDict);
  }
  return value.is_list() &&
         std::find(std::begin(kOfList), std::end(kOfList), name) != std::end(kOfList);
}

Value RefusedMethod(const std::string& name) {
  return Value::Of(Function{name, [name](const Arguments&) -> Result {
                              return absl::InvalidArgumentError(
                                  absl::StrCat("the method '", name,
                                               "' changes its object, which a template may not"));
                            }});
}

Value ListMethod(const Value& list, const std::string& name) {
  if (name != "index" && name != "count") return Value();
  return Value::Of(Function{
      name, [list, name](const Arguments& arguments) -> Result {
        ASSIGN_OR_RETURN(const BoundArguments bound,
                         BoundArguments::Bind(name, arguments, {"value"}, 1));
        const List& items = list.as_sequence()->items;
        if (name == "count") {
          return Value::Int(std::count_if(items.begin(), items.end(), [&](const Value& item) {
            return Equal(item, bound[0]);
          }));
        }
        for (size_t i = 0; i < items.size(); ++i) {
          if (Equal(items[i], bound[0])) return Value::Int(static_cast<int64_t>(i));
        }
        return absl::InvalidArgumentError("index: the list has no such element");
      }});
}

// A method or member that Python's getattr finds; undefined if there is none.
Value Method(const Value& value, const std::string& name) {
  if (const Namespace* space = value.as_namespace()) {
    for (const auto& [member, content] : space->members) {
      if (member == name) return content;
    }
    return Value();
  }
  if (value.as_text() != nullptr) return TextMethod(value, name);
  if (IsMutating(value, name)) return RefusedMethod(name);
  if (value.as_dict() != nullptr) return DictMethod(value, name);
  if (value.is_list() || value.is_tuple()) return ListMethod(value, name);
  return Value();
}

Value Missing(const Value& value, const std::string& what) {
  return Value::Undefined(absl::StrCat(value.TypeName(), " object has no ", what));
}

bool CanSlice(const Value& value) {
  return value.as_text() != nullptr || value.is_list() || value.is_tuple() ||
         (value.as_sequence() != nullptr && value.as_sequence()->type == Sequence::Type::kRange);
}

}  // namespace

absl::Status IsUndefined(const Value& value) {
  const std::string& what = value.undefined_name();
  if (what.empty()) return absl::InvalidArgumentError("a value is undefined");
  return absl::InvalidArgumentError(
      absl::StrContains(what, ' ') ? what : absl::StrCat("'", what, "' is undefined"));
}

absl::StatusOr<Value> BoundedText(std::string text) {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a text of more than ", kMaxTextBytes >> 20,
                                                   " MiB; this is the most that is made"));
  }
  return Value::Text(std::move(text));
}

absl::StatusOr<Value> Attribute(const Value& value, const std::string& name) {
  if (value.is_undefined()) return IsUndefined(value);
  Value method = Method(value, name);
  if (!method.is_undefined()) return method;
  if (const Value* member = value.Find(Value::Text(name))) return *member;
  return Missing(value, absl::StrCat("attribute '", name, "'"));
}

absl::StatusOr<Value> Item(const Value& value, const Value& index) {
  if (value.is_undefined()) return IsUndefined(value);
  int64_t at = 0;
  if (const Value* member = value.Find(index)) return *member;
  if (index.AsInt(&at)) {
    if (value.as_text() != nullptr) {
      std::vector<std::string> characters = Characters(*value.as_text());
      if (at < 0) at += static_cast<int64_t>(characters.size());
      if (at >= 0 && at < static_cast<int64_t>(characters.size())) {
        return Value::Text(std::move(characters[at]));
      }
    } else if (value.is_list() || value.is_tuple() ||
               (value.as_sequence() != nullptr &&
                value.as_sequence()->type == Sequence::Type::kRange)) {
      const List& items = value.as_sequence()->items;
      if (at < 0) at += static_cast<int64_t>(items.size());
      if (at >= 0 && at < static_cast<int64_t>(items.size())) return items[at];
    }
    return Missing(value, absl::StrCat("element ", at));
  }
  if (index.as_text() != nullptr) {
    Value method = Method(value, *index.as_text());
    if (!method.is_undefined()) return method;
    return Missing(value, absl::StrCat("attribute '", *index.as_text(), "'"));
  }
  return Missing(value, absl::StrCat("element of type ", index.TypeName()));
}

absl::StatusOr<Value> Slice(const Value& value, const Value& start, const Value& stop,
                            const Value& step) {
  if (value.is_undefined()) return IsUndefined(value);
  if (!CanSlice(value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a value of type ", value.TypeName(), " has no slices"));
  }
  ASSIGN_OR_RETURN(List items, Elements(value));
  const auto size = static_cast<int64_t>(items.size());
  int64_t stride = 1;
  if (!step.is_undefined() && !step.is_none() && !step.AsInt(&stride)) {
    return absl::InvalidArgumentError("the step of a slice is not an integer");
  }
  if (stride == 0) return absl::InvalidArgumentError("the step of a slice is 0");
  const auto bound = [&](const Value& given, int64_t otherwise) -> absl::StatusOr<int64_t> {
    int64_t at = 0;
    if (given.is_undefined() || given.is_none()) return otherwise;
    if (!given.AsInt(&at)) {
      return absl::InvalidArgumentError("a bound of a slice is not an integer");
    }
    if (at < 0) at = std::max(at, -size) + size - (at < -size ? 1 : 0);
    return std::clamp<int64_t>(at, stride > 0 ? 0 : -1, stride > 0 ? size : size - 1);
  };
  ASSIGN_OR_RETURN(const int64_t first, bound(start, stride > 0 ? 0 : size - 1));
  ASSIGN_OR_RETURN(const int64_t last, bound(stop, stride > 0 ? size : -1));
  List taken;
  for (int64_t i = first; stride > 0 ? i < last : i > last;) {
    taken.push_back(items[i]);
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  if (value.as_text() == nullptr) {
    return Value::Of(value.as_sequence()->type, std::move(taken));
  }
  std::string text;
  for (const Value& character : taken) text += *character.as_text();
  return Value::Text(std::move(text));
}

absl::StatusOr<bool> Contains(const Value& value, const Value& member) {
  if (value.as_text() != nullptr) {
    if (member.as_text() == nullptr) {
      if (member.is_undefined()) return IsUndefined(member);
      return absl::InvalidArgumentError(absl::StrCat(
          "'in' a string needs a string on its left, not a value of type ", member.TypeName()));
    }
    return absl::StrContains(*value.as_text(), *member.as_text());
  }
  if (value.as_dict() != nullptr) return value.Find(member) != nullptr;
  ASSIGN_OR_RETURN(const List items, Elements(value));
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& item) { return Equal(item, member); });
}

absl::StatusOr<Value> Calculate(const std::string& op, const Value& a, const Value& b) {
  int64_t i = 0, j = 0;
  double x = 0, y = 0;
  if (a.AsInt(&i) && b.AsInt(&j)) return CalculateInts(op, i, j);
  if (a.AsNumber(&x) && b.AsNumber(&y)) return CalculateFloats(op, x, y);
  if (op == "+" && a.as_text() != nullptr && b.as_text() != nullptr) {
    return BoundedText(*a.as_text() + *b.as_text());
  }
  if (op == "+" && ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple()))) {
    List joined = a.as_sequence()->items;
    const List& more = b.as_sequence()->items;
    if (joined.size() + more.size() > kMaxItems) return TooLarge(op);
    joined.insert(joined.end(), more.begin(), more.end());
    return Value::Of(a.as_sequence()->type, std::move(joined));
  }
  if (op == "*" && CanRepeat(a) && b.AsInt(&j)) return Repeat(a, j);
  if (op == "*" && CanRepeat(b) && a.AsInt(&i)) return Repeat(b, i);
  if (op == "%" && a.as_text() != nullptr) {
    return absl::InvalidArgumentError("formatting with % is not supported; use ~");
  }
  return Refused(op, a, b);
}

}  // namespace wyvern::jinja
