// Jinja2's filters, tests and functions, and the methods of Python's types, as far as chat
// templates use them. Every error says what is not supported, or what Python would refuse.
#ifndef WYVERN_DATA_CHAT_JINJA_BUILTINS_H_
#define WYVERN_DATA_CHAT_JINJA_BUILTINS_H_

#include <string>

#include "absl/status/statusor.h"
#include "data/chat/jinja_value.h"

namespace wyvern::jinja {

// Bounds on what a template may make, so that none takes a machine's memory.
inline constexpr size_t kMaxTextBytes = size_t{64} << 20;
inline constexpr size_t kMaxItems = size_t{1} << 20;

absl::StatusOr<Value> ApplyFilter(const std::string& name, const Value& value,
                                  const Arguments& arguments);
absl::StatusOr<bool> ApplyTest(const std::string& name, const Value& value,
                               const Arguments& arguments);

// value.name and value[index]; undefined if there is none. Errors: `value` is undefined itself.
absl::StatusOr<Value> Attribute(const Value& value, const std::string& name);
absl::StatusOr<Value> Item(const Value& value, const Value& index);
// value[start:stop:step], undefined where left out.
absl::StatusOr<Value> Slice(const Value& value, const Value& start, const Value& stop,
                            const Value& step);

// a op b, where op is == != < <= > >= in or "not in".
absl::StatusOr<bool> Compare(const std::string& op, const Value& a, const Value& b);
// Python's `member in value`.
absl::StatusOr<bool> Contains(const Value& value, const Value& member);
// a op b, where op is + - * / // % or **.
absl::StatusOr<Value> Calculate(const std::string& op, const Value& a, const Value& b);

// range, dict, namespace, raise_exception; nullptr for other names.
const Value* FindGlobal(const std::string& name);

// InvalidArgument beyond kMaxTextBytes.
absl::StatusOr<Value> BoundedText(std::string text);

// An error that mentions what an undefined value was looked up as.
absl::Status IsUndefined(const Value& value);

}  // namespace wyvern::jinja

#endif  // WYVERN_DATA_CHAT_JINJA_BUILTINS_H_
