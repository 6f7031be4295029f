// The element types in which other programs keep token ids.
#ifndef WYVERN_DATA_TOKEN_FILES_TOKEN_DTYPE_H_
#define WYVERN_DATA_TOKEN_FILES_TOKEN_DTYPE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

enum class TokenDtype {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kUint64,
  kInt64,
  kFloat32,
  kFloat64
};

int64_t Bytes(TokenDtype dtype);
std::string Name(TokenDtype dtype);  // NumPy's: "uint16"
std::optional<TokenDtype> ParseTokenDtype(absl::string_view name);
std::vector<std::string> TokenDtypeNames();  // all of them

// Widens `count` little-endian values to ids. Returns the index of the first that is no integer in
// [0, vocab_size), else `count`; `ids` holds those before it.
int64_t ReadIds(TokenDtype dtype, const char* values, int64_t count, int64_t vocab_size,
                int32_t* ids);

// A value for messages, as it stands in the file.
std::string ValueText(TokenDtype dtype, const char* value);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKEN_FILES_TOKEN_DTYPE_H_
