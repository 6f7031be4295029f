// Where the tokens of a file are, and where its documents end: what a format knows.
#ifndef WYVERN_DATA_TOKEN_FILES_LAYOUT_H_
#define WYVERN_DATA_TOKEN_FILES_LAYOUT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/token_files/token_file.h"

namespace wyvern {

// The ends of documents, in order: each as the number of tokens before it.
class DocumentEnds {
 public:
  virtual ~DocumentEnds() = default;
  // None behind the last one, which is the number of tokens. Errors: an end before the last one,
  // or behind the tokens.
  virtual absl::StatusOr<std::optional<int64_t>> Next() = 0;
};

struct TokenLayout {
  TokenFileFormat format = TokenFileFormat::kRaw;
  TokenDtype dtype = TokenDtype::kUint16;
  int64_t begin = 0;  // byte of the first token; they reach to the end of the file
  int64_t num_tokens = 0;
  std::unique_ptr<DocumentEnds> ends;  // null: one document
  std::vector<std::string> paths;      // TokenFile::paths
};

// Each reads a format's header or index. `dtype` is TokenFileOptions::dtype.
absl::StatusOr<TokenLayout> MegatronLayout(const std::string& path,
                                           std::optional<TokenDtype> dtype);
absl::StatusOr<TokenLayout> LlmCLayout(const std::string& path, std::optional<TokenDtype> dtype);
absl::StatusOr<TokenLayout> DatatroveLayout(const std::string& path,
                                            std::optional<TokenDtype> dtype);
absl::StatusOr<TokenLayout> NpyLayout(const std::string& path, std::optional<TokenDtype> dtype);
absl::StatusOr<TokenLayout> RawLayout(const std::string& path, std::optional<TokenDtype> dtype);

// InvalidArgument unless `dtype` is absent or is what the file at `path` says.
absl::Status CheckDtype(const std::string& path, TokenDtype found, std::optional<TokenDtype> dtype);

// The number of values behind byte `begin` of the file. Errors: no file, a header cut off, part of
// a value.
absl::StatusOr<int64_t> CountValues(const std::string& path, int64_t begin, int64_t value_bytes);

// Whether there is a pair PREFIX.bin, PREFIX.idx for this path, which is either or PREFIX; the
// prefix.
std::optional<std::string> MegatronPrefix(const std::string& path);
// Whether the first bytes of a file are a header of the format.
bool IsLlmC(const std::string& first_bytes);
bool IsNpy(const std::string& first_bytes);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKEN_FILES_LAYOUT_H_
