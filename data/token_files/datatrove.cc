// The tokens of datatrove, which nanotron reads: NAME.ds is nothing but values, uint16 or uint32.
// Beside it lie
//
//   NAME.ds.index      uint64: for each document the number of tokens up to its end
//   NAME.ds.metadata   text: the first line is the tokenizer's name, '|' and the bytes of a token
//   NAME.ds.loss       where some tokens are not to be learnt, a byte for each
//
// The first is needed, the second may be absent, of the third nothing can be kept.
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/io/file.h"
#include "data/token_files/file_values.h"
#include "data/token_files/layout.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr int64_t kEndBytes = 8;
constexpr int64_t kMaxMetadataBytes = int64_t{1} << 20;

absl::Status Damaged(const std::string& path, const std::string& what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what, "; copy or make it again"));
}

class Ends final : public DocumentEnds {
 public:
  Ends(std::string path, FileValues values, int64_t num_documents, int64_t num_tokens)
      : path_(std::move(path)),
        values_(std::move(values)),
        num_documents_(num_documents),
        num_tokens_(num_tokens) {}

  absl::StatusOr<std::optional<int64_t>> Next() override {
    if (document_ == num_documents_) {
      if (end_ == num_tokens_) return std::nullopt;
      return Damaged(path_,
                     absl::StrCat("its last document ends at token ", end_, " of ", num_tokens_));
    }
    uint64_t end = 0;
    RETURN_IF_ERROR(values_.Read(&end));
    if (end < static_cast<uint64_t>(end_) || end > static_cast<uint64_t>(num_tokens_)) {
      return Damaged(path_, absl::StrCat("document ", document_, " ends at token ", end,
                                         ", begins at ", end_, " and there are ", num_tokens_));
    }
    ++document_;
    end_ = static_cast<int64_t>(end);
    return end_;
  }

 private:
  const std::string path_;
  FileValues values_;
  const int64_t num_documents_, num_tokens_;
  int64_t document_ = 0, end_ = 0;
};

absl::StatusOr<TokenDtype> DtypeOfBytes(const std::string& path, int64_t bytes) {
  if (bytes == 2) return TokenDtype::kUint16;
  if (bytes == 4) return TokenDtype::kUint32;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": its tokens have ", bytes, " bytes; expected 2 or 4"));
}

absl::StatusOr<TokenDtype> MetadataDtype(const std::string& path) {
  std::error_code error;
  if (std::filesystem::file_size(path, error) > kMaxMetadataBytes || error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a few lines of text, with the size of a token"));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const std::vector<std::string> lines = absl::StrSplit(text, absl::MaxSplits('\n', 1));
  const std::vector<std::string> parts = absl::StrSplit(lines[0], '|');
  int64_t bytes = 0;
  if (parts.size() < 2 || !absl::SimpleAtoi(parts.back(), &bytes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": its first line does not end in '|' and the bytes of a token; mend or remove it"));
  }
  return DtypeOfBytes(path, bytes);
}

// The type, from the metadata, from `dtype`, or from the end of the last document.
absl::StatusOr<TokenDtype> FindDtype(const std::string& path, const std::string& index,
                                     int64_t num_documents, std::optional<TokenDtype> dtype) {
  std::error_code error;
  const std::string metadata = path + ".metadata";
  if (std::filesystem::exists(metadata, error)) {
    ASSIGN_OR_RETURN(const TokenDtype found, MetadataDtype(metadata));
    RETURN_IF_ERROR(CheckDtype(metadata, found, dtype));
    return found;
  }
  if (dtype.has_value()) return *dtype;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error) return ErrnoStatus(error.value(), "cannot read", path);
  if (num_documents == 0 || bytes == 0) return TokenDtype::kUint16;
  ASSIGN_OR_RETURN(FileValues values, FileValues::Open(index, (num_documents - 1) * kEndBytes));
  uint64_t tokens = 0;
  RETURN_IF_ERROR(values.Read(&tokens));
  if (tokens == 0 || bytes % tokens != 0) {
    return Damaged(index, absl::StrCat("its last document ends at token ", tokens,
                                       ", which does not fit the ", bytes, " bytes of ", path));
  }
  return DtypeOfBytes(path, static_cast<int64_t>(bytes / tokens));
}

}  // namespace

absl::StatusOr<TokenLayout> DatatroveLayout(const std::string& path,
                                            std::optional<TokenDtype> dtype) {
  std::error_code error;
  const std::string index = path + ".index";
  if (std::filesystem::exists(path + ".loss", error)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path,
        ".loss: a mask of the loss, of which nothing would be kept; move it away to import "
        "the tokens alone"));
  }
  if (!std::filesystem::exists(index, error)) {
    return absl::NotFoundError(
        absl::StrCat(index, ": no such file; it says where documents end. Without it, read ", path,
                     " as raw values"));
  }
  ASSIGN_OR_RETURN(const int64_t num_documents, CountValues(index, 0, kEndBytes));
  TokenLayout layout;
  layout.format = TokenFileFormat::kDatatrove;
  ASSIGN_OR_RETURN(layout.dtype, FindDtype(path, index, num_documents, dtype));
  ASSIGN_OR_RETURN(layout.num_tokens, CountValues(path, 0, Bytes(layout.dtype)));
  ASSIGN_OR_RETURN(FileValues values, FileValues::Open(index, 0));
  layout.ends = std::make_unique<Ends>(index, std::move(values), num_documents, layout.num_tokens);
  layout.paths = {path, index};
  if (std::filesystem::exists(path + ".metadata", error))
    layout.paths.push_back(path + ".metadata");
  return layout;
}

}  // namespace wyvern
