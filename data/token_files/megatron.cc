// Megatron-LM's indexed dataset: PREFIX.bin holds tokens, PREFIX.idx, little-endian,
//
//   "MMIDIDX" and two zero bytes; uint64 version, 1; uint8 code of the tokens' type
//   uint64 n, the number of sequences; uint64 d, the number of document indices
//   int32 [n]   tokens of each sequence
//   int64 [n]   byte of PREFIX.bin at which each begins
//   int64 [d]   0, then for each document the number of sequences up to its end
//
// A document is one sequence or several. Multimodal data have n more bytes, a mode each.
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/file.h"
#include "data/token_files/file_values.h"
#include "data/token_files/layout.h"
#include "data/token_files/megatron_format.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using namespace megatron_format;

absl::Status Damaged(const std::string& path, const std::string& what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what, "; copy or make it again"));
}

class Ends final : public DocumentEnds {
 public:
  Ends(std::string path, Header header, int64_t num_tokens, FileValues lengths, FileValues pointers,
       FileValues documents)
      : path_(std::move(path)),
        header_(header),
        num_tokens_(num_tokens),
        token_bytes_(Bytes(header.dtype)),
        lengths_(std::move(lengths)),
        pointers_(std::move(pointers)),
        documents_(std::move(documents)) {}

  absl::Status Begin() {
    int64_t first = 0;
    RETURN_IF_ERROR(documents_.Read(&first));
    return first == 0 ? absl::OkStatus()
                      : Damaged(path_, absl::StrCat("the first document begins at sequence ", first,
                                                    ", not at 0"));
  }

  absl::StatusOr<std::optional<int64_t>> Next() override {
    if (document_ + 1 == header_.num_indices) {
      if (sequence_ != header_.num_sequences) {
        return Damaged(path_, absl::StrCat("its documents end at sequence ", sequence_, " of ",
                                           header_.num_sequences));
      }
      if (token_ != num_tokens_) {
        return Damaged(path_, absl::StrCat("its sequences have ", token_, " tokens, the .bin file ",
                                           num_tokens_));
      }
      return std::nullopt;
    }
    ++document_;
    int64_t end = 0;
    RETURN_IF_ERROR(documents_.Read(&end));
    if (end < sequence_ || end > header_.num_sequences) {
      return Damaged(
          path_, absl::StrCat("document ", document_ - 1, " ends at sequence ", end, ", begins at ",
                              sequence_, " and there are ", header_.num_sequences));
    }
    for (; sequence_ < end; ++sequence_) RETURN_IF_ERROR(AddSequence());
    return token_;
  }

 private:
  absl::Status AddSequence() {
    int32_t length = 0;
    int64_t pointer = 0;
    RETURN_IF_ERROR(lengths_.Read(&length));
    RETURN_IF_ERROR(pointers_.Read(&pointer));
    if (length < 0 || length > num_tokens_ - token_) {
      return Damaged(path_, absl::StrCat("sequence ", sequence_, " has ", length,
                                         " tokens, and the .bin file ", num_tokens_ - token_,
                                         " behind the sequences before it"));
    }
    if (pointer != token_ * token_bytes_) {
      return Damaged(path_, absl::StrCat("sequence ", sequence_, " begins at byte ", pointer,
                                         " of the .bin file, the one before it ends at ",
                                         token_ * token_bytes_));
    }
    token_ += length;
    return absl::OkStatus();
  }

  const std::string path_;  // of the index
  const Header header_;
  const int64_t num_tokens_, token_bytes_;
  FileValues lengths_, pointers_, documents_;
  int64_t document_ = 0, sequence_ = 0, token_ = 0;
};

// So that a file that is too short, or another one, is noticed before it is read.
absl::Status CheckLast(const std::string& index, const Header& header, int64_t num_tokens) {
  if (header.num_sequences == 0) {
    return num_tokens == 0 ? absl::OkStatus()
                           : Damaged(index, absl::StrCat("it has no sequence, the .bin file ",
                                                         num_tokens, " tokens"));
  }
  const int64_t lengths_end = kHeaderBytes + header.num_sequences * kLengthBytes;
  ASSIGN_OR_RETURN(FileValues lengths, FileValues::Open(index, lengths_end - kLengthBytes));
  ASSIGN_OR_RETURN(
      FileValues pointers,
      FileValues::Open(index, lengths_end + (header.num_sequences - 1) * kPointerBytes));
  int32_t length = 0;
  int64_t pointer = 0;
  RETURN_IF_ERROR(lengths.Read(&length));
  RETURN_IF_ERROR(pointers.Read(&pointer));
  const int64_t bytes = num_tokens * Bytes(header.dtype);
  if (length < 0 || pointer < 0 || pointer > bytes ||
      bytes - pointer != length * Bytes(header.dtype)) {
    return Damaged(index, absl::StrCat("its last sequence has ", length, " tokens (",
                                       Name(header.dtype), ") from byte ", pointer,
                                       " of the .bin file on, which has ", bytes, " bytes"));
  }
  return absl::OkStatus();
}

// The header; all that it counts lies in the file.
absl::StatusOr<Header> ReadHeader(const std::string& path) {
  std::error_code error;
  const auto file_bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error) return ErrnoStatus(error.value(), "cannot read", path);
  ASSIGN_OR_RETURN(FileValues values, FileValues::Open(path, 0));
  char magic[kMagicBytes];
  uint64_t version = 0, num_sequences = 0, num_indices = 0;
  uint8_t code = 0;
  RETURN_IF_ERROR(values.ReadBytes(magic, kMagicBytes));
  if (std::memcmp(magic, kMagic, kMagicBytes) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path,
                     ": this is no index of Megatron-LM: it does not begin with MMIDIDX"
                     " (older ones begin with TNTIDX; make those again)"));
  }
  RETURN_IF_ERROR(values.Read(&version));
  if (version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": an index of Megatron-LM of version ",
                                                   version, "; this program reads version 1"));
  }
  RETURN_IF_ERROR(values.Read(&code));
  RETURN_IF_ERROR(values.Read(&num_sequences));
  RETURN_IF_ERROR(values.Read(&num_indices));
  if (code < 1 || code > std::size(kDtypes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": its tokens have the type code ", code, "; there are 1 to 8"));
  }
  const auto rest = static_cast<uint64_t>(file_bytes - kHeaderBytes);
  constexpr uint64_t kSequenceBytes = kLengthBytes + kPointerBytes;
  if (num_sequences > rest / kSequenceBytes || num_indices > rest / sizeof(int64_t) ||
      num_sequences * kSequenceBytes + num_indices * sizeof(int64_t) > rest) {
    return Damaged(
        path, absl::StrCat("it counts ", num_sequences, " sequences and ", num_indices,
                           " document indices, for which its ", file_bytes, " bytes are too few"));
  }
  const uint64_t more = rest - num_sequences * kSequenceBytes - num_indices * sizeof(int64_t);
  if (more == num_sequences && more > 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": a multimodal data set: its sequences have modes; only text can be imported"));
  }
  if (more != 0) {
    return Damaged(path, absl::StrCat(more, " bytes follow its document indices"));
  }
  if (num_indices == 0) return Damaged(path, "it has no document indices");
  return Header{kDtypes[code - 1], static_cast<int64_t>(num_sequences),
                static_cast<int64_t>(num_indices)};
}

}  // namespace

std::optional<std::string> MegatronPrefix(const std::string& path) {
  std::string prefix = path;
  if (absl::EndsWith(path, ".idx") || absl::EndsWith(path, ".bin")) {
    prefix.resize(path.size() - 4);
  }
  std::error_code error;
  if (!absl::EndsWith(path, ".idx") && !std::filesystem::exists(prefix + ".idx", error)) {
    return std::nullopt;
  }
  return prefix;
}

absl::StatusOr<TokenLayout> MegatronLayout(const std::string& path,
                                           std::optional<TokenDtype> dtype) {
  const std::string prefix = MegatronPrefix(path).value_or(path);
  const std::string index = prefix + ".idx", tokens = prefix + ".bin";
  ASSIGN_OR_RETURN(const Header header, ReadHeader(index));
  RETURN_IF_ERROR(CheckDtype(index, header.dtype, dtype));
  TokenLayout layout;
  layout.format = TokenFileFormat::kMegatron;
  layout.dtype = header.dtype;
  ASSIGN_OR_RETURN(layout.num_tokens, CountValues(tokens, 0, Bytes(header.dtype)));
  RETURN_IF_ERROR(CheckLast(index, header, layout.num_tokens));
  int64_t begin = kHeaderBytes;
  ASSIGN_OR_RETURN(FileValues lengths, FileValues::Open(index, begin));
  begin += header.num_sequences * kLengthBytes;
  ASSIGN_OR_RETURN(FileValues pointers, FileValues::Open(index, begin));
  begin += header.num_sequences * kPointerBytes;
  ASSIGN_OR_RETURN(FileValues documents, FileValues::Open(index, begin));
  auto ends = std::make_unique<Ends>(index, header, layout.num_tokens, std::move(lengths),
                                     std::move(pointers), std::move(documents));
  RETURN_IF_ERROR(ends->Begin());
  layout.ends = std::move(ends);
  layout.paths = {tokens, index};
  return layout;
}

}  // namespace wyvern
