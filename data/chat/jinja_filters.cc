// Filters of chat templates (jinja_builtins.h).
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "data/chat/jinja_arguments.h"
#include "data/chat/jinja_builtins.h"
#include "data/chat/jinja_text_methods.h"
#include "data/io/utf8.h"
#include "kernels/runtime/status.h"

namespace wyvern::jinja {
namespace {

using Result = absl::StatusOr<Value>;
using Filter = Result (*)(const Value& value, const Arguments& arguments);

Result Generator(List items) { return Value::Of(Sequence::Type::kGenerator, std::move(items)); }

// The member "a.b.0" of a value, step by step, as `attribute` parameters name it; an integer is an
// index.
Result Member(const Value& value, const Value& path) {
  if (path.as_text() == nullptr) return Item(value, path);
  Value member = value;
  for (const absl::string_view part : absl::StrSplit(*path.as_text(), '.')) {
    int64_t index = 0;
    const bool is_index =
        !part.empty() && absl::ascii_isdigit(part[0]) && absl::SimpleAtoi(part, &index);
    ASSIGN_OR_RETURN(member,
                     Item(member, is_index ? Value::Int(index) : Value::Text(std::string(part))));
  }
  return member;
}

// Texts compare without regard to case, where a filter says so.
Result IgnoreCase(const Value& value) {
  if (value.as_text() == nullptr) return value;
  ASSIGN_OR_RETURN(std::string lower, ChangeCase(*value.as_text(), Case::kLower));
  return Value::Text(std::move(lower));
}

Result SortKey(const Value& item, const BoundArguments& bound, size_t attribute,
               bool case_sensitive) {
  Value key = item;
  if (bound.HasValue(attribute)) {
    const Value& path = bound[attribute];
    if (path.as_text() != nullptr && absl::StrContains(*path.as_text(), ',')) {
      return absl::InvalidArgumentError("sorting by several attributes is not supported");
    }
    ASSIGN_OR_RETURN(key, Member(item, path));
  }
  if (case_sensitive) return key;
  return IgnoreCase(key);
}

// The items with their keys, in a stable order of these.
absl::StatusOr<std::vector<std::pair<Value, Value>>> SortByKey(
    std::vector<std::pair<Value, Value>> keyed, bool reverse) {
  absl::Status status;
  const auto less = [&](const auto& a, const auto& b) {
    const auto result = reverse ? Less(b.first, a.first) : Less(a.first, b.first);
    if (!result.ok()) status = result.status();
    return result.ok() && *result;
  };
  // A merge sort of our own steps: std::stable_sort may misbehave with an order that fails.
  for (size_t width = 1; width < keyed.size(); width *= 2) {
    std::vector<std::pair<Value, Value>> merged;
    for (size_t begin = 0; begin < keyed.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, keyed.size());
      const size_t end = std::min(begin + 2 * width, keyed.size());
      size_t i = begin, j = middle;
      while (i < middle || j < end) {
        const bool take_right = i == middle || (j < end && less(keyed[j], keyed[i]));
        RETURN_IF_ERROR(status);
        merged.push_back(keyed[take_right ? j++ : i++]);
      }
    }
    keyed = std::move(merged);
  }
  return keyed;
}

Result Abs(const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("abs", arguments, {}).status());
  int64_t integer = 0;
  if (value.AsInt(&integer)) {
    if (integer < 0) return Calculate("-", Value::Int(0), value);
    return Value::Int(integer);
  }
  if (value.as_float() != nullptr) return Value::Float(std::fabs(*value.as_float()));
  return absl::InvalidArgumentError(absl::StrCat("abs: not a number but ", value.TypeName()));
}

template <Case to>
Result CaseFilter(const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("the filter of case", arguments, {}).status());
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  if (to != Case::kTitle) {
    ASSIGN_OR_RETURN(std::string changed, ChangeCase(text, to));
    return Value::Text(std::move(changed));
  }
  // Jinja2's words, unlike str.title's, begin behind a space or one of -({[<.
  std::string titled;
  bool begins = true;
  for (const char c : text) {
    ASSIGN_OR_RETURN(const std::string changed,
                     ChangeCase(absl::string_view(&c, 1), begins ? Case::kUpper : Case::kLower));
    titled += changed;
    begins = absl::StrContains("-({[<", c) || absl::ascii_isspace(static_cast<unsigned char>(c));
  }
  return Value::Text(std::move(titled));
}

Result Default(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("default", arguments, {"default_value", "boolean"}));
  const bool is_missing = value.is_undefined() || (bound.Truth(1, false) && !value.Truth());
  if (!is_missing) return value;
  return bound.Has(0) ? bound[0] : Value::Text("");
}

Result DictSort(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(
      const BoundArguments bound,
      BoundArguments::Bind("dictsort", arguments, {"case_sensitive", "by", "reverse"}));
  if (value.as_dict() == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("dictsort: not a dict but ", value.TypeName()));
  }
  ASSIGN_OR_RETURN(const std::string by, bound.Text(1, "key"));
  if (by != "key" && by != "value") {
    return absl::InvalidArgumentError("dictsort: by is \"key\" or \"value\"");
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, member] : *value.as_dict()) {
    Value sort_key = by == "key" ? key : member;
    if (!bound.Truth(0, false)) {
      ASSIGN_OR_RETURN(sort_key, IgnoreCase(sort_key));
    }
    keyed.emplace_back(sort_key, Value::Of(Sequence::Type::kTuple, {key, member}));
  }
  ASSIGN_OR_RETURN(keyed, SortByKey(std::move(keyed), bound.Truth(2, false)));
  List items;
  for (auto& item : keyed) items.push_back(std::move(item.second));
  return Value::OfList(std::move(items));
}

Result First(const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("first", arguments, {}).status());
  if (value.is_generator()) {
    Sequence& sequence = *value.as_sequence();
    if (sequence.consumed < sequence.items.size()) return sequence.items[sequence.consumed++];
    return Value::Undefined("No first item, sequence was empty.");
  }
  ASSIGN_OR_RETURN(const List items, Elements(value));
  if (items.empty()) return Value::Undefined("No first item, sequence was empty.");
  return items.front();
}

Result Last(const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("last", arguments, {}).status());
  if (value.is_generator()) {
    return absl::InvalidArgumentError("last: of a generator; write |list before it");
  }
  ASSIGN_OR_RETURN(const List items, Elements(value));
  if (items.empty()) return Value::Undefined("No last item, sequence was empty.");
  return items.back();
}

// A number as Python's int and float read it: whitespace around it, _ between digits.
std::string PythonDigits(const std::string& text) {
  const std::string stripped = Strip(text, nullptr, Side::kBoth);
  std::string digits;
  for (size_t i = 0; i < stripped.size(); ++i) {
    const bool between = i > 0 && i + 1 < stripped.size() && absl::ascii_isdigit(stripped[i - 1]) &&
                         absl::ascii_isdigit(stripped[i + 1]);
    if (stripped[i] != '_' || !between) digits.push_back(stripped[i]);
  }
  return digits;
}

bool ParseFloat(const Value& value, double* number) {
  if (value.AsNumber(number)) return true;
  if (value.as_text() == nullptr) return false;
  const std::string digits = PythonDigits(*value.as_text());
  return digits.find_first_of("xX") == std::string::npos && absl::SimpleAtod(digits, number);
}

Result ToInt(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("int", arguments, {"default", "base"}));
  ASSIGN_OR_RETURN(const int64_t base, bound.Int(1, 10));
  if (base != 10) return absl::InvalidArgumentError("int: is supported with base 10 only");
  const Value otherwise = bound.Has(0) ? bound[0] : Value::Int(0);
  int64_t integer = 0;
  if (value.AsInt(&integer)) return Value::Int(integer);
  if (value.as_text() != nullptr) {
    const std::string digits = PythonDigits(*value.as_text());
    if (absl::SimpleAtoi(digits, &integer)) return Value::Int(integer);
  }
  double number = 0;
  if (!ParseFloat(value, &number) || !std::isfinite(number)) return otherwise;
  constexpr double kBound = 9223372036854774784.0;
  if (std::fabs(number) > kBound) return absl::InvalidArgumentError("int: the number is too large");
  return Value::Int(static_cast<int64_t>(number));
}

Result ToFloat(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("float", arguments, {"default"}));
  double number = 0;
  if (ParseFloat(value, &number)) return Value::Float(number);
  return bound.Has(0) ? bound[0] : Value::Float(0);
}

Result Indent(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("indent", arguments, {"width", "first", "blank"}));
  if (value.as_text() == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("indent: not a string but ", value.TypeName()));
  }
  std::string indention = "    ";
  if (bound.HasValue(0) && bound[0].as_text() != nullptr) {
    indention = *bound[0].as_text();
  } else {
    ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, 4));
    ASSIGN_OR_RETURN(const Value spaces, Calculate("*", Value::Text(" "), Value::Int(width)));
    indention = *spaces.as_text();
  }
  const bool blank = bound.Truth(2, false);
  const std::vector<std::string> lines = SplitLines(*value.as_text() + "\n", false);
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool indented = i == 0 ? bound.Truth(1, false) : blank || !lines[i].empty();
    absl::StrAppend(&text, i > 0 ? "\n" : "", indented ? indention : "", lines[i]);
    if (text.size() > kMaxTextBytes) break;
  }
  return BoundedText(std::move(text));
}

Result Items(const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("items", arguments, {}).status());
  List items;
  if (value.is_undefined()) return Generator({});
  if (value.as_dict() == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("items: not a dict but ", value.TypeName()));
  }
  for (const auto& [key, member] : *value.as_dict()) {
    items.push_back(Value::Of(Sequence::Type::kTuple, {key, member}));
  }
  return Generator(std::move(items));
}

Result JoinFilter(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("join", arguments, {"d", "attribute"}));
  ASSIGN_OR_RETURN(const std::string between, bound.Text(0, ""));
  ASSIGN_OR_RETURN(const List items, Elements(value));
  std::string joined;
  for (size_t i = 0; i < items.size() && joined.size() <= kMaxTextBytes; ++i) {
    Value item = items[i];
    if (bound.HasValue(1)) {
      ASSIGN_OR_RETURN(item, Member(item, bound[1]));
    }
    ASSIGN_OR_RETURN(const std::string text, ToText(item));
    absl::StrAppend(&joined, i > 0 ? between : "", text);
  }
  return BoundedText(std::move(joined));
}

Result Length(const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("length", arguments, {}).status());
  if (value.as_text() != nullptr) return Value::Int(CountCharacters(*value.as_text()));
  if (value.is_undefined()) return Value::Int(0);
  if (value.as_dict() != nullptr) {
    return Value::Int(static_cast<int64_t>(value.as_dict()->size()));
  }
  if (value.as_sequence() != nullptr && !value.is_generator()) {
    return Value::Int(static_cast<int64_t>(value.as_sequence()->items.size()));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("length: a value of type ", value.TypeName(), " has none"));
}

Result ToList(const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("list", arguments, {}).status());
  ASSIGN_OR_RETURN(List items, Elements(value));
  return Value::OfList(std::move(items));
}

// The arguments behind the first `count` positional ones.
Arguments Behind(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(
      rest.positional.begin(),
      rest.positional.begin() + static_cast<int64_t>(std::min(count, rest.positional.size())));
  return rest;
}

absl::StatusOr<std::string> NameArgument(const std::string& filter, const Arguments& arguments,
                                         size_t i) {
  if (i < arguments.positional.size() && arguments.positional[i].as_text() != nullptr) {
    return *arguments.positional[i].as_text();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(filter, ": expected the name of a filter or test"));
}

Result Map(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const List items, Elements(value));
  List mapped;
  if (arguments.positional.empty()) {
    ASSIGN_OR_RETURN(const BoundArguments bound,
                     BoundArguments::Bind("map", arguments, {"attribute", "default"}, 1));
    for (const Value& item : items) {
      ASSIGN_OR_RETURN(Value member, Member(item, bound[0]));
      mapped.push_back(member.is_undefined() && bound.Has(1) ? bound[1] : member);
    }
    return Generator(std::move(mapped));
  }
  ASSIGN_OR_RETURN(const std::string name, NameArgument("map", arguments, 0));
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value result, ApplyFilter(name, item, Behind(arguments, 1)));
    mapped.push_back(std::move(result));
  }
  return Generator(std::move(mapped));
}

// select, reject, selectattr and rejectattr: the test's name may be left out, and is the value's
// truth then.
template <bool keep, bool by_attribute>
Result Select(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const List items, Elements(value));
  constexpr size_t kTest = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty()) {
    return absl::InvalidArgumentError("selectattr, rejectattr: expected the attribute's name");
  }
  List selected;
  for (const Value& item : items) {
    Value tested = item;
    if (by_attribute) {
      ASSIGN_OR_RETURN(tested, Member(item, arguments.positional[0]));
    }
    bool result = tested.Truth();
    if (arguments.positional.size() > kTest) {
      ASSIGN_OR_RETURN(const std::string name, NameArgument("select", arguments, kTest));
      ASSIGN_OR_RETURN(result, ApplyTest(name, tested, Behind(arguments, kTest + 1)));
    }
    if (result == keep) selected.push_back(item);
  }
  return Generator(std::move(selected));
}

template <bool largest>
Result Extreme(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(
      const BoundArguments bound,
      BoundArguments::Bind(largest ? "max" : "min", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const List items, Elements(value));
  if (items.empty()) return Value::Undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  Value best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const Value key, SortKey(items[i], bound, 1, bound.Truth(0, false)));
    if (i > 0) {
      ASSIGN_OR_RETURN(const bool better, largest ? Less(best_key, key) : Less(key, best_key));
      if (!better) continue;
    }
    best = i;
    best_key = key;
  }
  return items[best];
}

Result ReplaceFilter(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("replace", arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  ASSIGN_OR_RETURN(const std::string from, ToText(bound[0]));
  ASSIGN_OR_RETURN(const std::string to, ToText(bound[1]));
  ASSIGN_OR_RETURN(const int64_t count, bound.Int(2, -1));
  ASSIGN_OR_RETURN(std::string replaced, ReplaceText(text, from, to, count));
  return Value::Text(std::move(replaced));
}

Result Reverse(const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("reverse", arguments, {}).status());
  ASSIGN_OR_RETURN(List items, Elements(value));
  std::reverse(items.begin(), items.end());
  if (value.as_text() == nullptr) {
    return value.is_generator() ? Value::OfList(std::move(items)) : *Generator(std::move(items));
  }
  std::string text;
  for (const Value& character : items) text += *character.as_text();
  return Value::Text(std::move(text));
}

Result Round(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("round", arguments, {"precision", "method"}));
  ASSIGN_OR_RETURN(const int64_t precision, bound.Int(0, 0));
  ASSIGN_OR_RETURN(const std::string method, bound.Text(1, "common"));
  double number = 0;
  if (!value.AsNumber(&number)) {
    return absl::InvalidArgumentError(absl::StrCat("round: not a number but ", value.TypeName()));
  }
  if (precision < 0 || precision > 15) {
    return absl::InvalidArgumentError("round: the precision is supported from 0 to 15");
  }
  if (method == "common") {
    if (value.as_float() == nullptr)
      return value.as_bool() != nullptr ? Value::Int(number != 0) : value;
    if (!std::isfinite(number)) return value;
    double rounded = 0;
    const std::string digits = absl::StrFormat("%.*f", static_cast<int>(precision), number);
    if (!absl::SimpleAtod(digits, &rounded)) return absl::InternalError("round");
    return Value::Float(rounded);
  }
  if (method != "ceil" && method != "floor") {
    return absl::InvalidArgumentError("round: method is common, ceil or floor");
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = method == "ceil" ? std::ceil(number * scale) : std::floor(number * scale);
  return Value::Float(scaled / scale);
}

Result Sort(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(
      const BoundArguments bound,
      BoundArguments::Bind("sort", arguments, {"reverse", "case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const List items, Elements(value));
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value key, SortKey(item, bound, 2, bound.Truth(1, false)));
    keyed.emplace_back(std::move(key), item);
  }
  ASSIGN_OR_RETURN(keyed, SortByKey(std::move(keyed), bound.Truth(0, false)));
  List sorted;
  for (auto& item : keyed) sorted.push_back(std::move(item.second));
  return Value::OfList(std::move(sorted));
}

Result String(const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("string", arguments, {}).status());
  ASSIGN_OR_RETURN(std::string text, ToText(value));
  return Value::Text(std::move(text));
}

Result Sum(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("sum", arguments, {"attribute", "start"}));
  ASSIGN_OR_RETURN(const List items, Elements(value));
  Value total = bound.Has(1) ? bound[1] : Value::Int(0);
  for (const Value& item : items) {
    Value term = item;
    if (bound.HasValue(0)) {
      ASSIGN_OR_RETURN(term, Member(item, bound[0]));
    }
    ASSIGN_OR_RETURN(total, Calculate("+", total, term));
  }
  return total;
}

Result ToJsonFilter(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("tojson", arguments,
                                        {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = bound.Truth(0, false);
  style.sort_keys = bound.Truth(3, false);
  if (bound.HasValue(1)) {
    style.has_indent = true;
    style.item_separator = std::string(",");
    if (bound[1].as_text() != nullptr) {
      style.indent = *bound[1].as_text();
    } else {
      ASSIGN_OR_RETURN(const int64_t width, bound.Int(1, 0));
      if (width > 64) return absl::InvalidArgumentError("tojson: indent is at most 64");
      style.indent = std::string(std::max<int64_t>(width, 0), ' ');
    }
  }
  if (bound.HasValue(2)) {
    ASSIGN_OR_RETURN(const List separators, Elements(bound[2]));
    if (separators.size() != 2 || separators[0].as_text() == nullptr ||
        separators[1].as_text() == nullptr) {
      return bound.Expected(2, "two strings");
    }
    style.item_separator = *separators[0].as_text();
    style.key_separator = *separators[1].as_text();
  }
  ASSIGN_OR_RETURN(std::string text, ToJson(value, style));
  return BoundedText(std::move(text));
}

Result Trim(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind("trim", arguments, {"chars"}));
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  if (!bound.HasValue(0)) return Value::Text(Strip(text, nullptr, Side::kBoth));
  ASSIGN_OR_RETURN(const std::string chars, bound.Text(0, ""));
  return Value::Text(Strip(text, &chars, Side::kBoth));
}

Result Unique(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("unique", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const List items, Elements(value));
  List keys, unique;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(const Value key, SortKey(item, bound, 1, bound.Truth(0, false)));
    if (keys.size() > 10000) return absl::InvalidArgumentError("unique: more than 10000 elements");
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return Equal(k, key); })) {
      continue;
    }
    keys.push_back(key);
    unique.push_back(item);
  }
  return Generator(std::move(unique));
}

const std::map<std::string, Filter>& Filters() {
  static const auto* filters = new std::map<std::string, Filter>{
      {"abs", Abs},
      {"capitalize", CaseFilter<Case::kCapitalize>},
      {"count", Length},
      {"d", Default},
      {"default", Default},
      {"dictsort", DictSort},
      {"first", First},
      {"float", ToFloat},
      {"indent", Indent},
      {"int", ToInt},
      {"items", Items},
      {"join", JoinFilter},
      {"last", Last},
      {"length", Length},
      {"list", ToList},
      {"lower", CaseFilter<Case::kLower>},
      {"map", Map},
      {"max", Extreme<true>},
      {"min", Extreme<false>},
      {"reject", Select<false, false>},
      {"rejectattr", Select<false, true>},
      {"replace", ReplaceFilter},
      {"reverse", Reverse},
      {"round", Round},
      {"safe", String},
      {"select", Select<true, false>},
      {"selectattr", Select<true, true>},
      {"sort", Sort},
      {"string", String},
      {"sum", Sum},
      {"title", CaseFilter<Case::kTitle>},
      {"tojson", ToJsonFilter},
      {"trim", Trim},
      {"unique", Unique},
      {"upper", CaseFilter<Case::kUpper>},
  };
  return *filters;
}

}  // namespace

absl::StatusOr<Value> ApplyFilter(const std::string& name, const Value& value,
                                  const Arguments& arguments) {
  const auto found = Filters().find(name);
  if (found == Filters().end()) {
    return absl::InvalidArgumentError(absl::StrCat("the filter '", name, "' is not supported"));
  }
  return found->second(value, arguments);
}

}  // namespace wyvern::jinja
