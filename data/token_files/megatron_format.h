// Constants of Megatron-LM's .idx file; data/token_files/megatron.cc has its layout.
#ifndef WYVERN_DATA_TOKEN_FILES_MEGATRON_FORMAT_H_
#define WYVERN_DATA_TOKEN_FILES_MEGATRON_FORMAT_H_

#include <cstdint>

#include "data/token_files/token_dtype.h"

namespace wyvern::megatron_format {

inline constexpr int64_t kMagicBytes = 9;
inline constexpr char kMagic[kMagicBytes + 1] = "MMIDIDX\0";
inline constexpr uint64_t kVersion = 1;
inline constexpr int64_t kHeaderBytes = kMagicBytes + 8 + 1 + 8 + 8;
inline constexpr int64_t kLengthBytes = 4, kPointerBytes = 8;

// In the order of their codes, which begin at 1.
inline constexpr TokenDtype kDtypes[] = {
    TokenDtype::kUint8, TokenDtype::kInt8,    TokenDtype::kInt16,   TokenDtype::kInt32,
    TokenDtype::kInt64, TokenDtype::kFloat64, TokenDtype::kFloat32, TokenDtype::kUint16};

struct Header {
  TokenDtype dtype;
  int64_t num_sequences;
  int64_t num_indices;
};

}  // namespace wyvern::megatron_format

#endif  // WYVERN_DATA_TOKEN_FILES_MEGATRON_FORMAT_H_
