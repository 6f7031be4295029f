#include "data/token_files/token_dtype.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

constexpr TokenDtype kAll[] = {TokenDtype::kUint8,  TokenDtype::kInt8,   TokenDtype::kUint16,
                               TokenDtype::kInt16,  TokenDtype::kUint32, TokenDtype::kInt32,
                               TokenDtype::kUint64, TokenDtype::kInt64,  TokenDtype::kFloat32,
                               TokenDtype::kFloat64};

// Calls f with a value of the C++ type.
template <typename F>
auto Dispatch(TokenDtype dtype, F f) {
  switch (dtype) {
    case TokenDtype::kUint8:
      return f(uint8_t{});
    case TokenDtype::kInt8:
      return f(int8_t{});
    case TokenDtype::kUint16:
      return f(uint16_t{});
    case TokenDtype::kInt16:
      return f(int16_t{});
    case TokenDtype::kUint32:
      return f(uint32_t{});
    case TokenDtype::kInt32:
      return f(int32_t{});
    case TokenDtype::kUint64:
      return f(uint64_t{});
    case TokenDtype::kInt64:
      return f(int64_t{});
    case TokenDtype::kFloat32:
      return f(float{});
    case TokenDtype::kFloat64:
      return f(double{});
  }
  CHECK(false, "a type of tokens that is none");
}

template <typename T>
T ValueAt(const char* values, int64_t i) {
  T value;
  std::memcpy(&value, values + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

}  // namespace

int64_t Bytes(TokenDtype dtype) {
  return Dispatch(dtype, [](auto zero) { return static_cast<int64_t>(sizeof(zero)); });
}

std::string Name(TokenDtype dtype) {
  return Dispatch(dtype, [](auto zero) {
    using T = decltype(zero);
    const char* kind = std::is_floating_point_v<T> ? "float" : std::is_signed_v<T> ? "int" : "uint";
    return absl::StrCat(kind, 8 * sizeof(T));
  });
}

std::optional<TokenDtype> ParseTokenDtype(absl::string_view name) {
  for (const TokenDtype dtype : kAll) {
    if (name == Name(dtype)) return dtype;
  }
  return std::nullopt;
}

std::vector<std::string> TokenDtypeNames() {
  std::vector<std::string> names;
  for (const TokenDtype dtype : kAll) names.push_back(Name(dtype));
  return names;
}

int64_t ReadIds(TokenDtype dtype, const char* values, int64_t count, int64_t vocab_size,
                int32_t* ids) {
  return Dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < count; ++i) {
      const T value = ValueAt<T>(values, i);
      if constexpr (std::is_floating_point_v<T>) {
        // False for what is not a number, too.
        if (!(value >= 0 && value < static_cast<double>(vocab_size))) return i;
        if (static_cast<T>(static_cast<int64_t>(value)) != value) return i;
      } else {
        if (value < 0 || static_cast<uint64_t>(value) >= static_cast<uint64_t>(vocab_size)) {
          return i;
        }
      }
      ids[i] = static_cast<int32_t>(value);
    }
    return count;
  });
}

std::string ValueText(TokenDtype dtype, const char* value) {
  return Dispatch(dtype, [value](auto zero) {
    // absl writes no 8-bit integers.
    using T = decltype(zero);
    if constexpr (sizeof(T) == 1) return absl::StrCat(int{ValueAt<T>(value, 0)});
    if constexpr (sizeof(T) != 1) return absl::StrCat(ValueAt<T>(value, 0));
  });
}

}  // namespace wyvern
