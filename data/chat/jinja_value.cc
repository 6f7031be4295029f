#include "data/chat/jinja_value.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/utf8.h"
#include "kernels/runtime/status.h"

namespace wyvern::jinja {
namespace {

constexpr int kMaxDepth = 200;  // of values within values, which the functions here go down

absl::Status TooDeep() {
  return absl::InvalidArgumentError(
      absl::StrCat("values are nested more than ", kMaxDepth, " levels deep"));
}

// Appends Python's escapes of a text, without quotes.
void AppendEscaped(absl::string_view text, char quote, std::string* out) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    utf8proc_int32_t c = 0;
    const auto length = utf8proc_iterate(bytes + i, text.size() - i, &c);
    const size_t step = length > 0 ? length : 1;
    if (length <= 0) c = bytes[i];
    if (c == quote || c == '\\') {
      absl::StrAppend(out, "\\", std::string(1, static_cast<char>(c)));
    } else if (c == '\n') {
      absl::StrAppend(out, "\\n");
    } else if (c == '\r') {
      absl::StrAppend(out, "\\r");
    } else if (c == '\t') {
      absl::StrAppend(out, "\\t");
    } else if (c >= ' ' && c < 0x7f) {
      out->push_back(static_cast<char>(c));
    } else {
      const utf8proc_category_t category = utf8proc_category(c);
      const bool printable = c >= 0xa0 && category != UTF8PROC_CATEGORY_CN &&
                             category != UTF8PROC_CATEGORY_CC && category != UTF8PROC_CATEGORY_CF &&
                             category != UTF8PROC_CATEGORY_CS && category != UTF8PROC_CATEGORY_CO &&
                             category != UTF8PROC_CATEGORY_ZL && category != UTF8PROC_CATEGORY_ZP &&
                             category != UTF8PROC_CATEGORY_ZS;
      if (printable && length > 0) {
        absl::StrAppend(out, text.substr(i, step));
      } else if (c <= 0xff) {
        absl::StrAppendFormat(out, "\\x%02x", c);
      } else if (c <= 0xffff) {
        absl::StrAppendFormat(out, "\\u%04x", c);
      } else {
        absl::StrAppendFormat(out, "\\U%08x", c);
      }
    }
    i += step;
  }
}

std::string TextRepr(const std::string& text) {
  const bool doubled = absl::StrContains(text, '\'') && !absl::StrContains(text, '"');
  const char quote = doubled ? '"' : '\'';
  std::string out(1, quote);
  AppendEscaped(text, quote, &out);
  out.push_back(quote);
  return out;
}

absl::Status AppendRepr(const Value& value, int depth, std::string* out);

absl::Status AppendItems(const List& items, int depth, std::string* out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) absl::StrAppend(out, ", ");
    RETURN_IF_ERROR(AppendRepr(items[i], depth + 1, out));
  }
  return absl::OkStatus();
}

absl::Status AppendSequence(const Sequence& sequence, int depth, std::string* out) {
  std::string close = "]";
  switch (sequence.type) {
    case Sequence::Type::kList:
      absl::StrAppend(out, "[");
      break;
    case Sequence::Type::kTuple:
      absl::StrAppend(out, "(");
      close = sequence.items.size() == 1 ? ",)" : ")";
      break;
    case Sequence::Type::kKeys:
      absl::StrAppend(out, "dict_keys([");
      close = "])";
      break;
    case Sequence::Type::kValues:
      absl::StrAppend(out, "dict_values([");
      close = "])";
      break;
    case Sequence::Type::kItems:
      absl::StrAppend(out, "dict_items([");
      close = "])";
      break;
    case Sequence::Type::kRange:
    case Sequence::Type::kGenerator:
      return absl::InvalidArgumentError(
          "a generator or range has no text of its own; write |list behind it");
  }
  RETURN_IF_ERROR(AppendItems(sequence.items, depth, out));
  absl::StrAppend(out, close);
  return absl::OkStatus();
}

absl::Status AppendRepr(const Value& value, int depth, std::string* out) {
  if (depth > kMaxDepth) return TooDeep();
  if (value.as_text() != nullptr) {
    absl::StrAppend(out, TextRepr(*value.as_text()));
  } else if (value.as_sequence() != nullptr) {
    return AppendSequence(*value.as_sequence(), depth, out);
  } else if (value.as_dict() != nullptr) {
    absl::StrAppend(out, "{");
    bool first = true;
    for (const auto& [key, member] : *value.as_dict()) {
      if (!first) absl::StrAppend(out, ", ");
      first = false;
      RETURN_IF_ERROR(AppendRepr(key, depth + 1, out));
      absl::StrAppend(out, ": ");
      RETURN_IF_ERROR(AppendRepr(member, depth + 1, out));
    }
    absl::StrAppend(out, "}");
  } else if (value.is_undefined()) {
    absl::StrAppend(out, "Undefined");
  } else {
    ASSIGN_OR_RETURN(const std::string text, ToText(value));
    absl::StrAppend(out, text);
  }
  return absl::OkStatus();
}

void AppendJsonText(const std::string& text, bool ensure_ascii, std::string* out) {
  absl::StrAppend(out, nlohmann::json(text).dump(-1, ' ', ensure_ascii,
                                                 nlohmann::json::error_handler_t::replace));
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, std::string* out) : style_(style), out_(*out) {}

  absl::Status Write(const Value& value, int depth) {
    if (depth > kMaxDepth) return TooDeep();
    int64_t integer = 0;
    if (value.is_none()) {
      out_ += "null";
    } else if (value.as_bool() != nullptr) {
      out_ += *value.as_bool() ? "true" : "false";
    } else if (value.AsInt(&integer)) {
      absl::StrAppend(&out_, integer);
    } else if (value.as_float() != nullptr) {
      out_ += JsonFloat(*value.as_float());
    } else if (value.as_text() != nullptr) {
      AppendJsonText(*value.as_text(), style_.ensure_ascii, &out_);
    } else if (value.is_list() || value.is_tuple()) {
      const List& items = value.as_sequence()->items;
      return Items('[', ']', items.size(), depth,
                   [&](size_t i) { return Write(items[i], depth + 1); });
    } else if (value.as_dict() != nullptr) {
      return WriteDict(*value.as_dict(), depth);
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("tojson: a value of type ", value.TypeName(), " is not JSON"));
    }
    return absl::OkStatus();
  }

 private:
  static std::string JsonFloat(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return FloatText(value);
  }

  absl::Status WriteDict(const Dict& dict, int depth) {
    std::vector<std::pair<std::string, const Value*>> members;
    for (const auto& [key, value] : dict) {
      std::string name;
      if (key.as_text() != nullptr) {
        name = *key.as_text();
      } else if (key.as_sequence() != nullptr || key.as_dict() != nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("tojson: a key of type ", key.TypeName(), " is not JSON"));
      } else {
        JsonWriter writer(style_, &name);
        RETURN_IF_ERROR(writer.Write(key, depth + 1));
      }
      members.emplace_back(std::move(name), &value);
    }
    if (style_.sort_keys) {
      std::stable_sort(members.begin(), members.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    return Items('{', '}', members.size(), depth, [&](size_t i) {
      AppendJsonText(members[i].first, style_.ensure_ascii, &out_);
      out_ += style_.key_separator;
      return Write(*members[i].second, depth + 1);
    });
  }

  absl::Status Items(char open, char close, size_t count, int depth,
                     const std::function<absl::Status(size_t)>& write) {
    out_ += open;
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(depth + 1);
      RETURN_IF_ERROR(write(i));
    }
    if (count > 0) NewLine(depth);
    out_ += close;
    return absl::OkStatus();
  }
  void NewLine(int depth) {
    if (!style_.has_indent) return;
    out_ += '\n';
    for (int i = 0; i < depth; ++i) out_ += style_.indent;
  }

  const JsonStyle& style_;
  std::string& out_;
};

}  // namespace

Value Value::Undefined(std::string what) { return Value(Data(UndefinedType{std::move(what)})); }
Value Value::Text(std::string value) {
  return Value(Data(std::make_shared<const std::string>(std::move(value))));
}
Value Value::Of(Sequence::Type type, List items) {
  return Value(Data(std::make_shared<Sequence>(Sequence{type, std::move(items), 0})));
}
Value Value::OfDict(Dict items) {
  return Value(Data(std::make_shared<const Dict>(std::move(items))));
}
Value Value::Of(Function function) {
  return Value(Data(std::make_shared<const Function>(std::move(function))));
}

Value Value::FromJson(const nlohmann::ordered_json& json) {
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::boolean:
      return Bool(json.get<bool>());
    case Type::number_integer:
      return Int(json.get<int64_t>());
    case Type::number_unsigned: {
      const auto value = json.get<uint64_t>();
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Float(static_cast<double>(value));
      }
      return Int(static_cast<int64_t>(value));
    }
    case Type::number_float:
      return Float(json.get<double>());
    case Type::string:
      return Text(json.get<std::string>());
    case Type::array: {
      List items;
      for (const auto& item : json) items.push_back(FromJson(item));
      return OfList(std::move(items));
    }
    case Type::object: {
      Dict dict;
      for (const auto& [key, value] : json.items()) {
        dict.emplace_back(Text(key), FromJson(value));
      }
      return OfDict(std::move(dict));
    }
    default:
      return None();
  }
}

bool Value::AsInt(int64_t* value) const {
  if (const bool* truth = std::get_if<bool>(&data_)) {
    *value = *truth ? 1 : 0;
    return true;
  }
  if (const int64_t* integer = std::get_if<int64_t>(&data_)) {
    *value = *integer;
    return true;
  }
  return false;
}

bool Value::AsNumber(double* value) const {
  if (const double* real = std::get_if<double>(&data_)) {
    *value = *real;
    return true;
  }
  int64_t integer = 0;
  if (!AsInt(&integer)) return false;
  *value = static_cast<double>(integer);
  return true;
}

const std::string* Value::as_text() const {
  const auto* text = std::get_if<std::shared_ptr<const std::string>>(&data_);
  return text == nullptr ? nullptr : text->get();
}
const Dict* Value::as_dict() const {
  const auto* dict = std::get_if<std::shared_ptr<const Dict>>(&data_);
  return dict == nullptr ? nullptr : dict->get();
}
Sequence* Value::as_sequence() const {
  const auto* sequence = std::get_if<std::shared_ptr<Sequence>>(&data_);
  return sequence == nullptr ? nullptr : sequence->get();
}
Namespace* Value::as_namespace() const {
  const auto* found = std::get_if<std::shared_ptr<Namespace>>(&data_);
  return found == nullptr ? nullptr : found->get();
}
const Function* Value::as_function() const {
  const auto* function = std::get_if<std::shared_ptr<const Function>>(&data_);
  return function == nullptr ? nullptr : function->get();
}
bool Value::IsSequence(Sequence::Type type) const {
  return as_sequence() != nullptr && as_sequence()->type == type;
}

const char* Value::TypeName() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "NoneType";
  if (as_bool() != nullptr) return "bool";
  if (as_float() != nullptr) return "float";
  if (as_text() != nullptr) return "str";
  if (as_dict() != nullptr) return "dict";
  if (is_list()) return "list";
  if (is_tuple()) return "tuple";
  if (as_sequence() != nullptr) return "generator";
  if (as_namespace() != nullptr) return "namespace";
  if (as_function() != nullptr) return "function";
  return "int";
}

bool Value::Truth() const {
  double number = 0;
  if (is_undefined() || is_none()) return false;
  if (AsNumber(&number)) return number != 0;
  if (as_text() != nullptr) return !as_text()->empty();
  if (as_dict() != nullptr) return !as_dict()->empty();
  if (as_sequence() != nullptr) return is_generator() || !as_sequence()->items.empty();
  return true;
}

const Value* Value::Find(const Value& key) const {
  if (as_dict() == nullptr) return nullptr;
  for (const auto& [name, value] : *as_dict()) {
    if (Equal(name, key)) return &value;
  }
  return nullptr;
}

bool Equal(const Value& a, const Value& b) {
  int64_t i = 0, j = 0;
  double x = 0, y = 0;
  if (a.AsInt(&i) && b.AsInt(&j)) return i == j;
  if (a.AsNumber(&x) && b.AsNumber(&y)) return x == y;
  if (a.as_text() != nullptr && b.as_text() != nullptr) return *a.as_text() == *b.as_text();
  if (a.is_undefined() || a.is_none()) {
    return (a.is_undefined() && b.is_undefined()) || (a.is_none() && b.is_none());
  }
  if (a.as_sequence() != nullptr && b.as_sequence() != nullptr) {
    if (a.as_sequence() == b.as_sequence()) return true;
    const Sequence &s = *a.as_sequence(), &t = *b.as_sequence();
    return s.type == t.type && s.type != Sequence::Type::kGenerator &&
           std::equal(s.items.begin(), s.items.end(), t.items.begin(), t.items.end(), Equal);
  }
  if (a.as_dict() != nullptr && b.as_dict() != nullptr) {
    if (a.as_dict()->size() != b.as_dict()->size()) return false;
    for (const auto& [key, value] : *a.as_dict()) {
      const Value* other = b.Find(key);
      if (other == nullptr || !Equal(value, *other)) return false;
    }
    return true;
  }
  if (a.as_namespace() != nullptr) return a.as_namespace() == b.as_namespace();
  return a.as_function() != nullptr && a.as_function() == b.as_function();
}

absl::StatusOr<bool> Less(const Value& a, const Value& b) {
  int64_t i = 0, j = 0;
  double x = 0, y = 0;
  if (a.AsInt(&i) && b.AsInt(&j)) return i < j;
  if (a.AsNumber(&x) && b.AsNumber(&y)) return x < y;
  if (a.as_text() != nullptr && b.as_text() != nullptr) return *a.as_text() < *b.as_text();
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple())) {
    const List &s = a.as_sequence()->items, &t = b.as_sequence()->items;
    for (size_t k = 0; k < std::min(s.size(), t.size()); ++k) {
      if (!Equal(s[k], t[k])) return Less(s[k], t[k]);
    }
    return s.size() < t.size();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("values of type ", a.TypeName(), " and ", b.TypeName(), " have no order"));
}

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  // d.ddde+XX, from which Python's form is laid out: with an exponent below 1e-4 and from 1e16 on.
  absl::string_view text(buffer, end.ptr - buffer);
  std::string sign;
  if (absl::StartsWith(text, "-")) {
    sign = "-";
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += std::string(text.substr(2, e - 2));
  const int exponent = std::stoi(std::string(text.substr(e + 1)));
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = digits.size() > 1 ? "." + digits.substr(1) : "";
    return absl::StrCat(sign, digits.substr(0, 1), fraction,
                        absl::StrFormat("e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent)));
  }
  if (exponent < 0) return absl::StrCat(sign, "0.", std::string(-exponent - 1, '0'), digits);
  const size_t whole = exponent + 1;
  if (digits.size() <= whole) {
    return absl::StrCat(sign, digits, std::string(whole - digits.size(), '0'), ".0");
  }
  return absl::StrCat(sign, digits.substr(0, whole), ".", digits.substr(whole));
}

absl::StatusOr<std::string> ToText(const Value& value) {
  int64_t integer = 0;
  if (value.is_undefined()) return std::string();
  if (value.is_none()) return std::string("None");
  if (value.as_bool() != nullptr) return std::string(*value.as_bool() ? "True" : "False");
  if (value.AsInt(&integer)) return absl::StrCat(integer);
  if (value.as_float() != nullptr) return FloatText(*value.as_float());
  if (value.as_text() != nullptr) return *value.as_text();
  if (value.as_sequence() != nullptr || value.as_dict() != nullptr) return ToRepr(value);
  return absl::InvalidArgumentError(
      absl::StrCat("a value of type ", value.TypeName(), " has no text"));
}

absl::StatusOr<std::string> ToRepr(const Value& value) {
  std::string text;
  RETURN_IF_ERROR(AppendRepr(value, 0, &text));
  return text;
}

absl::StatusOr<std::string> ToJson(const Value& value, const JsonStyle& style) {
  std::string text;
  JsonWriter writer(style, &text);
  RETURN_IF_ERROR(writer.Write(value, 0));
  return text;
}

absl::StatusOr<List> Elements(const Value& value) {
  if (value.is_undefined()) return List();
  if (Sequence* sequence = value.as_sequence()) {
    if (!value.is_generator()) return sequence->items;
    List rest(sequence->items.begin() + static_cast<int64_t>(sequence->consumed),
              sequence->items.end());
    sequence->consumed = sequence->items.size();
    return rest;
  }
  List elements;
  if (const Dict* dict = value.as_dict()) {
    for (const auto& member : *dict) elements.push_back(member.first);
    return elements;
  }
  if (const std::string* text = value.as_text()) {
    for (std::string& character : Characters(*text)) {
      elements.push_back(Value::Text(std::move(character)));
    }
    return elements;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a value of type ", value.TypeName(), " cannot be gone through"));
}

std::vector<std::string> Characters(absl::string_view text) {
  std::vector<std::string> characters;
  for (const char c : text) {
    if (BeginsCharacter(c) || characters.empty()) characters.emplace_back();
    characters.back().push_back(c);
  }
  return characters;
}

}  // namespace wyvern::jinja
