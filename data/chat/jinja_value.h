// Values of a chat template, with the meaning that Python and Jinja2 give them.
#ifndef WYVERN_DATA_CHAT_JINJA_VALUE_H_
#define WYVERN_DATA_CHAT_JINJA_VALUE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern::jinja {

class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<Value, Value>>;  // in the order of insertion, keys unique

// The arguments of a call, a filter or a test.
struct Arguments {
  List positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Elements in order. The type decides what Python would print, compare and index.
struct Sequence {
  enum class Type { kList, kTuple, kRange, kKeys, kValues, kItems, kGenerator };
  Type type = Type::kList;
  List items;
  size_t consumed = 0;  // a generator: the leading items that were taken from it
};

// Variables that assignments may change from any scope.
struct Namespace {
  std::vector<std::pair<std::string, Value>> members;
};

struct Function {
  std::string name;  // for messages
  std::function<absl::StatusOr<Value>(const Arguments&)> call;
};

// Cheap to copy: contents are shared, and immutable but for a namespace's and a generator's.
class Value {
 public:
  Value() = default;  // undefined, without a name
  static Value Undefined(std::string what);
  static Value None() { return Value(NoneType{}); }
  static Value Bool(bool value) { return Value(value); }
  static Value Int(int64_t value) { return Value(value); }
  static Value Float(double value) { return Value(value); }
  static Value Text(std::string value);
  static Value Of(Sequence::Type type, List items);
  static Value OfList(List items) { return Of(Sequence::Type::kList, std::move(items)); }
  static Value OfDict(Dict items);
  static Value Of(std::shared_ptr<Namespace> value) { return Value(std::move(value)); }
  static Value Of(Function function);
  // Objects keep the order of their members.
  static Value FromJson(const nlohmann::ordered_json& json);

  bool is_undefined() const { return std::holds_alternative<UndefinedType>(data_); }
  bool is_none() const { return std::holds_alternative<NoneType>(data_); }
  const bool* as_bool() const { return std::get_if<bool>(&data_); }
  const double* as_float() const { return std::get_if<double>(&data_); }
  // An integer; a bool is one, too, as in Python.
  bool AsInt(int64_t* value) const;
  // A number of any type.
  bool AsNumber(double* value) const;
  const std::string* as_text() const;
  const Dict* as_dict() const;
  Sequence* as_sequence() const;  // a list, a tuple or what is gone through like one
  Namespace* as_namespace() const;
  const Function* as_function() const;
  bool is_list() const { return IsSequence(Sequence::Type::kList); }
  bool is_tuple() const { return IsSequence(Sequence::Type::kTuple); }
  bool is_generator() const { return IsSequence(Sequence::Type::kGenerator); }

  const std::string& undefined_name() const { return std::get<UndefinedType>(data_).what; }
  const char* TypeName() const;  // Python's, for messages

  bool Truth() const;
  // The member of a dict, or null.
  const Value* Find(const Value& key) const;

 private:
  struct UndefinedType {
    std::string what;
  };
  struct NoneType {};
  using Data = std::variant<UndefinedType, NoneType, bool, int64_t, double,
                            std::shared_ptr<const std::string>, std::shared_ptr<Sequence>,
                            std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                            std::shared_ptr<const Function>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  bool IsSequence(Sequence::Type type) const;

  Data data_;
};

// Python's ==: numbers of different types may be equal, a list and a tuple never are.
bool Equal(const Value& a, const Value& b);
// Python's <. Errors: types without an order.
absl::StatusOr<bool> Less(const Value& a, const Value& b);

// str(value), as {{ value }} prints it. Errors: what has no text that could be repeated, such as a
// generator or a function.
absl::StatusOr<std::string> ToText(const Value& value);
// repr(value), as a value within a list is printed.
absl::StatusOr<std::string> ToRepr(const Value& value);
// repr of a float: the shortest digits that read back as it.
std::string FloatText(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  std::string indent;  // of each level; has_indent false: one line
  bool has_indent = false;
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};
// json.dumps(value). Errors: values that JSON does not have.
absl::StatusOr<std::string> ToJson(const Value& value, const JsonStyle& style);

// The elements that a `for` goes through: of a sequence, the keys of a dict, the characters of a
// text; of undefined, none. Takes them from a generator. Errors: other types.
absl::StatusOr<List> Elements(const Value& value);

// The code points of a text, a string each.
std::vector<std::string> Characters(absl::string_view text);

}  // namespace wyvern::jinja

#endif  // WYVERN_DATA_CHAT_JINJA_VALUE_H_
