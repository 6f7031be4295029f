#include "data/token_files/token_file.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/byte_stream.h"
#include "data/io/file.h"
#include "data/store/made_from.h"
#include "data/token_files/layout.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr std::pair<TokenFileFormat, const char*> kFormats[] = {
    {TokenFileFormat::kAuto, "auto"},  {TokenFileFormat::kMegatron, "megatron"},
    {TokenFileFormat::kLlmC, "llm.c"}, {TokenFileFormat::kDatatrove, "datatrove"},
    {TokenFileFormat::kNpy, "npy"},    {TokenFileFormat::kRaw, "raw"}};

constexpr int64_t kPieceTokens = 1 << 16;

class File final : public TokenFile {
 public:
  explicit File(TokenLayout layout) : layout_(std::move(layout)) {}

  absl::Status Begin() {
    for (const std::string& path : layout_.paths) {
      ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path));
      stamps_.push_back(stamp);
    }
    ASSIGN_OR_RETURN(stream_, ByteStream::OpenRaw(layout_.paths[0]));
    std::string header(static_cast<size_t>(layout_.begin), '\0');
    return ReadBytes(header.data(), header.size());
  }

  TokenFileFormat format() const override { return layout_.format; }
  TokenDtype dtype() const override { return layout_.dtype; }
  int64_t num_tokens() const override { return layout_.num_tokens; }
  bool has_documents() const override { return layout_.ends != nullptr; }
  const std::vector<std::string>& paths() const override { return layout_.paths; }
  int64_t empty_documents() const override { return empty_documents_; }
  const std::vector<ReadFileInfo>& read_files() const override { return read_files_; }

  absl::StatusOr<bool> Next(int64_t vocab_size, TokenPiece* piece) override {
    if (position_ == end_) {
      ASSIGN_OR_RETURN(const bool found, NextDocument());
      if (!found) {
        if (read_files_.empty()) RETURN_IF_ERROR(End());
        return false;
      }
    }
    const int64_t count = std::min(kPieceTokens, end_ - position_);
    const int64_t value_bytes = Bytes(layout_.dtype);
    values_.resize(static_cast<size_t>(count * value_bytes));
    RETURN_IF_ERROR(ReadBytes(values_.data(), values_.size()));
    piece->tokens.resize(static_cast<size_t>(count));
    const int64_t read =
        ReadIds(layout_.dtype, values_.data(), count, vocab_size, piece->tokens.data());
    if (read < count) {
      return absl::InvalidArgumentError(absl::StrCat(
          layout_.paths[0], ": token ", position_ + read, " has the id ",
          ValueText(layout_.dtype, values_.data() + read * value_bytes),
          ", outside the vocabulary of ", vocab_size,
          "; name the tokenizer (or vocabulary size) and the dtype that the file was made with"));
    }
    position_ += count;
    piece->ends_document = position_ == end_;
    return true;
  }

 private:
  // Sets end_ to the end of the next document that is not empty; false: there is none.
  absl::StatusOr<bool> NextDocument() {
    if (layout_.ends == nullptr) {
      end_ = layout_.num_tokens;
      return position_ < end_;
    }
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<int64_t> end, layout_.ends->Next());
      if (!end.has_value()) return false;
      end_ = *end;
      if (end_ > position_) return true;
      ++empty_documents_;
    }
  }

  absl::Status Changed(const std::string& path) const {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " changed while it was read; import again when nothing writes to it"));
  }

  absl::Status ReadBytes(char* bytes, size_t size) {
    while (size > 0) {
      ASSIGN_OR_RETURN(const size_t got, stream_->Read(bytes, size));
      if (got == 0) return Changed(layout_.paths[0]);
      bytes += got;
      size -= got;
    }
    return absl::OkStatus();
  }

  absl::Status End() {
    char more = 0;
    ASSIGN_OR_RETURN(const size_t got, stream_->Read(&more, 1));
    if (got != 0) return Changed(layout_.paths[0]);
    std::vector<ReadFileInfo> read = {
        {stream_->file_bytes_read(), stream_->file_crc32(), stream_->file_stamp()}};
    for (size_t i = 1; i < layout_.paths.size(); ++i) {
      ASSIGN_OR_RETURN(ReadFileInfo info, ReadWholeFile(layout_.paths[i]));
      read.push_back(info);
    }
    for (size_t i = 0; i < read.size(); ++i) {
      ASSIGN_OR_RETURN(const FileStamp now, StampOf(layout_.paths[i]));
      if (!IsSameStamp(stamps_[i], now)) return Changed(layout_.paths[i]);
    }
    read_files_ = std::move(read);
    return absl::OkStatus();
  }

  TokenLayout layout_;
  std::vector<FileStamp> stamps_;
  std::unique_ptr<ByteStream> stream_;
  std::vector<char> values_;
  int64_t position_ = 0, end_ = 0, empty_documents_ = 0;
  std::vector<ReadFileInfo> read_files_;
};

absl::StatusOr<TokenFileFormat> FindFormat(const std::string& path) {
  if (MegatronPrefix(path).has_value()) return TokenFileFormat::kMegatron;
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return ErrnoStatus(ENOENT, "cannot read", path);
  if (!std::filesystem::is_regular_file(status)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a folder or a pipe; name the files of tokens themselves"));
  }
  std::string first(8, '\0');
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> stream, ByteStream::OpenRaw(path));
  ASSIGN_OR_RETURN(const size_t got, stream->Read(first.data(), first.size()));
  first.resize(got);
  if (IsNpy(first)) return TokenFileFormat::kNpy;
  if (IsLlmC(first)) return TokenFileFormat::kLlmC;
  return absl::EndsWith(path, ".ds") ? TokenFileFormat::kDatatrove : TokenFileFormat::kRaw;
}

absl::StatusOr<TokenLayout> FindLayout(const std::string& path, const TokenFileOptions& options) {
  TokenFileFormat format = options.format;
  if (format == TokenFileFormat::kAuto) {
    ASSIGN_OR_RETURN(format, FindFormat(path));
  }
  switch (format) {
    case TokenFileFormat::kMegatron:
      return MegatronLayout(path, options.dtype);
    case TokenFileFormat::kLlmC:
      return LlmCLayout(path, options.dtype);
    case TokenFileFormat::kDatatrove:
      return DatatroveLayout(path, options.dtype);
    case TokenFileFormat::kNpy:
      return NpyLayout(path, options.dtype);
    case TokenFileFormat::kAuto:
    case TokenFileFormat::kRaw:
      break;
  }
  return RawLayout(path, options.dtype);
}

}  // namespace

std::string Name(TokenFileFormat format) {
  for (const auto& [value, name] : kFormats) {
    if (value == format) return name;
  }
  return "?";
}

std::optional<TokenFileFormat> ParseTokenFileFormat(const std::string& name) {
  for (const auto& [value, known] : kFormats) {
    if (name == known) return value;
  }
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<TokenFile>> TokenFile::Open(const std::string& path,
                                                           const TokenFileOptions& options) {
  ASSIGN_OR_RETURN(TokenLayout layout, FindLayout(path, options));
  auto file = std::make_unique<File>(std::move(layout));
  RETURN_IF_ERROR(file->Begin());
  return file;
}

}  // namespace wyvern
