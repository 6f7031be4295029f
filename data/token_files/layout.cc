#include "data/token_files/layout.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "kernels/runtime/status.h"

namespace wyvern {

absl::Status CheckDtype(const std::string& path, TokenDtype found,
                        std::optional<TokenDtype> dtype) {
  if (!dtype.has_value() || *dtype == found) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": its tokens are of the type ", Name(found),
                                                 ", not ", Name(*dtype), "; leave dtype out"));
}

absl::StatusOr<int64_t> CountValues(const std::string& path, int64_t begin, int64_t value_bytes) {
  std::error_code error;
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error) return ErrnoStatus(error.value(), "cannot read", path);
  if (bytes < begin || (bytes - begin) % value_bytes != 0) {
    return absl::DataLossError(absl::StrCat(path, ": it has ", bytes, " bytes, which are not ",
                                            begin, " and whole values of ", value_bytes,
                                            "; copy or make it again"));
  }
  return (bytes - begin) / value_bytes;
}

absl::StatusOr<TokenLayout> RawLayout(const std::string& path, std::optional<TokenDtype> dtype) {
  if (!dtype.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a file of values that does not say their type; give its dtype (",
                     absl::StrJoin(TokenDtypeNames(), ", "), ")"));
  }
  TokenLayout layout;
  layout.dtype = *dtype;
  ASSIGN_OR_RETURN(layout.num_tokens, CountValues(path, 0, Bytes(*dtype)));
  layout.paths = {path};
  return layout;
}

}  // namespace wyvern
