// Names in the token store, version 1; data/README.md says what each holds.
#ifndef WYVERN_DATA_STORE_TOKEN_STORE_FORMAT_H_
#define WYVERN_DATA_STORE_TOKEN_STORE_FORMAT_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"
#include "data/io/hdf5_file.h"
#include "kernels/runtime/random.h"

namespace wyvern::token_store_format {

inline constexpr char kFormat[] = "wyvern token store";
inline constexpr int64_t kVersion = 1;
inline constexpr int64_t kBlock = 32768;      // values per checksum
inline constexpr int64_t kSmallChunk = 4096;  // of all datasets but the tokens

inline constexpr char kTokens[] = "tokens";
inline constexpr char kDocumentOffsets[] = "document_offsets";
inline constexpr char kDocumentSources[] = "document_sources";
inline constexpr char kSourceFiles[] = "source_files";
inline constexpr char kTokenizerModel[] = "tokenizer_model";
inline constexpr char kLearnt[] = "learnt";            // stores without conversations have none
inline constexpr char kPreparation[] = "preparation";  // stores of earlier versions have none

// 16 hex digits, FNV-1a (64 bits).
inline std::string HashText(const std::string& text) {
  return absl::StrFormat("%016x", HashName(text));
}

inline Hdf5Type TokenType(int64_t vocab_size) {
  return vocab_size <= 65536 ? Hdf5Type::kUint16 : Hdf5Type::kUint32;
}

}  // namespace wyvern::token_store_format

#endif  // WYVERN_DATA_STORE_TOKEN_STORE_FORMAT_H_
