// FIELDS(a, b) inside a struct lets code visit the members by position and name:
//
//   template <class T> struct Inputs { T x, weight; FIELDS(x, weight) };
//   ForEachField([](const char* name, Tensor& t) {...}, inputs);
//   ForEachField([](const char* name, Tensor& a, const Var& b) {...}, tensors, vars);
#ifndef WYVERN_AUTOGRAD_FIELDS_H_
#define WYVERN_AUTOGRAD_FIELDS_H_

#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace wyvern {

#define FIELDS(...)                                  \
  auto Tie() { return std::tie(__VA_ARGS__); }       \
  auto Tie() const { return std::tie(__VA_ARGS__); } \
  static constexpr const char* kFieldNames = #__VA_ARGS__;

// "x, weight" -> {"x", "weight"}
std::vector<std::string> SplitFieldNames(const char* names);

template <class S>
const std::vector<std::string>& FieldNames() {
  static const std::vector<std::string> names = SplitFieldNames(S::kFieldNames);
  return names;
}

template <class S>
inline constexpr size_t kNumFields = std::tuple_size_v<decltype(std::declval<S&>().Tie())>;

// Calls fn(name, s.field, more.field...) for each field in order.
template <class F, class S, class... More>
void ForEachField(F&& fn, S&& s, More&&... more) {
  const auto& names = FieldNames<std::remove_cvref_t<S>>();
  [&]<size_t... I>(std::index_sequence<I...>) {
    const auto at = [&]<size_t J>(std::integral_constant<size_t, J>) {
      fn(names[J].c_str(), std::get<J>(s.Tie()), std::get<J>(more.Tie())...);
    };
    (at(std::integral_constant<size_t, I>{}), ...);
  }
  (std::make_index_sequence<kNumFields<std::remove_cvref_t<S>>>{});
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_FIELDS_H_
