// Arguments given by position or by name, matched with the parameters of a built-in function.
#ifndef WYVERN_DATA_CHAT_JINJA_ARGUMENTS_H_
#define WYVERN_DATA_CHAT_JINJA_ARGUMENTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "data/chat/jinja_value.h"

namespace wyvern::jinja {

class BoundArguments {
 public:
  // Errors: too many arguments, an unknown name, one given twice, fewer than `required`.
  static absl::StatusOr<BoundArguments> Bind(const std::string& function,
                                             const Arguments& arguments,
                                             const std::vector<std::string>& parameters,
                                             size_t required = 0) {
    BoundArguments bound(function, parameters);
    if (arguments.positional.size() > parameters.size()) {
      return absl::InvalidArgumentError(absl::StrCat(function, ": takes at most ",
                                                     parameters.size(), " arguments, got ",
                                                     arguments.positional.size()));
    }
    for (size_t i = 0; i < arguments.positional.size(); ++i) bound.Set(i, arguments.positional[i]);
    for (const auto& [name, value] : arguments.named) {
      size_t i = 0;
      while (i < parameters.size() && parameters[i] != name) ++i;
      if (i == parameters.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat(function, ": has no parameter '", name, "'"));
      }
      if (bound.Has(i)) {
        return absl::InvalidArgumentError(absl::StrCat(function, ": got '", name, "' twice"));
      }
      bound.Set(i, value);
    }
    for (size_t i = 0; i < required; ++i) {
      if (!bound.Has(i)) {
        return absl::InvalidArgumentError(
            absl::StrCat(function, ": needs the argument '", parameters[i], "'"));
      }
    }
    return bound;
  }

  bool Has(size_t i) const { return given_[i]; }
  // Given, and not none.
  bool HasValue(size_t i) const { return given_[i] && !values_[i].is_none(); }
  const Value& operator[](size_t i) const { return values_[i]; }  // undefined if not given

  absl::StatusOr<std::string> Text(size_t i, const std::string& otherwise) const {
    if (!HasValue(i)) return otherwise;
    if (values_[i].as_text() == nullptr) return Expected(i, "a string");
    return *values_[i].as_text();
  }
  absl::StatusOr<int64_t> Int(size_t i, int64_t otherwise) const {
    int64_t value = 0;
    if (!HasValue(i)) return otherwise;
    if (!values_[i].AsInt(&value)) return Expected(i, "an integer");
    return value;
  }
  bool Truth(size_t i, bool otherwise) const { return given_[i] ? values_[i].Truth() : otherwise; }
  absl::Status Expected(size_t i, const char* what) const {
    return absl::InvalidArgumentError(absl::StrCat(function_, ": expected ", what, " for '",
                                                   parameters_[i], "', got a value of type ",
                                                   values_[i].TypeName()));
  }

 private:
  BoundArguments(std::string function, std::vector<std::string> parameters)
      : function_(std::move(function)),
        parameters_(std::move(parameters)),
        values_(parameters_.size()),
        given_(parameters_.size()) {}
  void Set(size_t i, const Value& value) {
    values_[i] = value;
    given_[i] = true;
  }

  std::string function_;
  std::vector<std::string> parameters_;
  std::vector<Value> values_;
  std::vector<bool> given_;
};

}  // namespace wyvern::jinja

#endif  // WYVERN_DATA_CHAT_JINJA_ARGUMENTS_H_
