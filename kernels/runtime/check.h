#ifndef WYVERN_KERNELS_RUNTIME_CHECK_H_
#define WYVERN_KERNELS_RUNTIME_CHECK_H_

#include <string>
#include <type_traits>

// Every source includes this, the CUDA ones once per architecture: it brings no header of Abseil.
namespace wyvern {

// Prints "file:line: check failed: expression: message" on stderr and aborts. For programmers'
// faults (shapes, types); what the world can break returns absl::Status instead.
[[noreturn]] void CheckFailed(const char* file, int line, const char* expression,
                              const std::string& message);

// Appends the number with up to six significant digits, as absl::StrCat writes it.
void AppendNumber(std::string* text, double number);

// The parts, which are texts and numbers, one after the other.
template <typename... Parts>
std::string JoinParts(const Parts&... parts) {
  std::string text;
  [[maybe_unused]] const auto append = [&text](const auto& part) {
    using Part = std::decay_t<decltype(part)>;
    if constexpr (std::is_integral_v<Part>) {
      text += std::to_string(part);
    } else if constexpr (std::is_floating_point_v<Part>) {
      AppendNumber(&text, part);
    } else if constexpr (std::is_class_v<Part>) {
      text.append(part.data(), part.size());  // std::string and every string_view
    } else {
      text += part;
    }
  };
  (append(parts), ...);
  return text;
}

}  // namespace wyvern

// CHECK(condition, parts...): the message is what JoinParts makes of the parts.
#define CHECK(condition, ...)                                                                  \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      ::wyvern::CheckFailed(__FILE__, __LINE__, #condition, ::wyvern::JoinParts(__VA_ARGS__)); \
    }                                                                                          \
  } while (false)

#endif  // WYVERN_KERNELS_RUNTIME_CHECK_H_
