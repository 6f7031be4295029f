#include "data/token_files/export_megatron.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/file.h"
#include "data/io/output.h"
#include "data/store/check_outputs.h"
#include "data/token_files/file_values.h"
#include "data/token_files/megatron_format.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using namespace megatron_format;

constexpr int64_t kPieceTokens = 1 << 16;
constexpr int64_t kWideVocabulary = 65500;  // from here on Megatron-LM takes int32

// A file that appears when it is whole.
class OutputFile {
 public:
  static absl::StatusOr<OutputFile> Create(const std::string& path) {
    ASSIGN_OR_RETURN(Output output, Output::Claim(path));
    OutputFile file(std::move(output));
    file.file_.reset(std::fopen(file.output_.temporary().c_str(), "wbxe"));
    if (file.file_ == nullptr) return file.Failed("cannot create");
    return file;
  }

  template <typename T>
  absl::Status Write(const T* values, size_t count) {
    if (std::fwrite(values, sizeof(T), count, file_.get()) != count) return Failed("cannot write");
    return absl::OkStatus();
  }
  template <typename T>
  absl::Status Write(T value) {
    return Write(&value, 1);
  }
  absl::Status Close() {
    return std::fclose(file_.release()) == 0 ? absl::OkStatus() : Failed("cannot write");
  }
  absl::Status Commit() { return output_.Commit(); }

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  explicit OutputFile(Output output) : output_(std::move(output)) {}
  absl::Status Failed(const char* action) const {
    return ErrnoStatus(errno, action, output_.temporary());
  }

  Output output_;  // outlives the file, which lies under its temporary name
  std::unique_ptr<std::FILE, CloseFile> file_;
};

template <typename T>
absl::Status WriteTokens(const TokenStore& store, OutputFile* file) {
  std::vector<int32_t> tokens(kPieceTokens);
  std::vector<T> values;
  for (int64_t begin = 0; begin < store.num_tokens(); begin += kPieceTokens) {
    const int64_t end = std::min(begin + kPieceTokens, store.num_tokens());
    RETURN_IF_ERROR(store.Read(begin, end, tokens.data()));
    values.assign(tokens.begin(), tokens.begin() + (end - begin));
    RETURN_IF_ERROR(file->Write(values.data(), values.size()));
  }
  return absl::OkStatus();
}

// Calls f(first token, tokens, whether it ends a document) for each sequence; a document without
// tokens is a call with none.
template <typename F>
absl::Status EachSequence(const TokenStore& store, int64_t max_tokens, F f) {
  const absl::Span<const int64_t> offsets = store.document_offsets();
  for (size_t d = 0; d + 1 < offsets.size(); ++d) {
    int64_t begin = offsets[d];
    do {
      const int64_t end = std::min(begin + max_tokens, offsets[d + 1]);
      RETURN_IF_ERROR(f(begin, end - begin, end == offsets[d + 1]));
      begin = end;
    } while (begin < offsets[d + 1]);
  }
  return absl::OkStatus();
}

absl::Status WriteIndex(const TokenStore& store, TokenDtype dtype, int64_t max_tokens,
                        OutputFile* file) {
  uint64_t num_sequences = 0;
  RETURN_IF_ERROR(EachSequence(store, max_tokens, [&](int64_t, int64_t tokens, bool) {
    if (tokens > 0) ++num_sequences;
    return absl::OkStatus();
  }));
  const auto code = static_cast<uint8_t>(std::find(std::begin(kDtypes), std::end(kDtypes), dtype) -
                                         std::begin(kDtypes) + 1);
  RETURN_IF_ERROR(file->Write(kMagic, kMagicBytes));
  RETURN_IF_ERROR(file->Write(kVersion));
  RETURN_IF_ERROR(file->Write(code));
  RETURN_IF_ERROR(file->Write(num_sequences));
  RETURN_IF_ERROR(file->Write(static_cast<uint64_t>(store.num_documents() + 1)));
  RETURN_IF_ERROR(EachSequence(store, max_tokens, [&](int64_t, int64_t tokens, bool) {
    return tokens > 0 ? file->Write(static_cast<int32_t>(tokens)) : absl::OkStatus();
  }));
  const int64_t token_bytes = Bytes(dtype);
  RETURN_IF_ERROR(EachSequence(store, max_tokens, [&](int64_t begin, int64_t tokens, bool) {
    return tokens > 0 ? file->Write(begin * token_bytes) : absl::OkStatus();
  }));
  int64_t sequences = 0;
  RETURN_IF_ERROR(file->Write(sequences));
  return EachSequence(store, max_tokens, [&](int64_t, int64_t tokens, bool ends_document) {
    if (tokens > 0) ++sequences;
    return ends_document ? file->Write(sequences) : absl::OkStatus();
  });
}

// Whether the file, or for a .bin the .idx beside it, begins as an index does.
bool IsOfMegatron(const std::string& path) {
  const std::string index =
      absl::StrCat(absl::StripSuffix(absl::StripSuffix(path, ".bin"), ".idx"), ".idx");
  absl::StatusOr<FileValues> values = FileValues::Open(index, 0);
  char magic[kMagicBytes] = {};
  return values.ok() && values->ReadBytes(magic, sizeof(magic)).ok() &&
         std::memcmp(magic, kMagic, sizeof(magic)) == 0;
}

}  // namespace

absl::StatusOr<ExportMegatronResult> ExportMegatron(const TokenStore& store,
                                                    const std::string& prefix, LossMask loss_mask,
                                                    int64_t max_sequence_tokens) {
  CHECK(0 < max_sequence_tokens && max_sequence_tokens <= INT32_MAX);
  if (store.has_learnt() && loss_mask == LossMask::kRefuse) {
    return absl::FailedPreconditionError(absl::StrCat(
        store.path(),
        ": a store of conversations, of whose tokens only some are learnt. Megatron's form cannot "
        "say which, so all would be; add --drop-loss-mask to write them so"));
  }
  if (prefix.empty() || prefix.back() == '/') {
    return absl::InvalidArgumentError(absl::StrCat(
        "output: expected what the names of both files begin with, as in data/corpus; got '",
        prefix, "'"));
  }
  ExportMegatronResult result;
  result.tokens_path = absl::StrCat(prefix, ".bin");
  result.index_path = absl::StrCat(prefix, ".idx");
  result.num_tokens = store.num_tokens();
  result.num_documents = store.num_documents();
  const bool is_wide = store.info().vocab_size >= kWideVocabulary;
  result.dtype = is_wide ? TokenDtype::kInt32 : TokenDtype::kUint16;

  for (const std::string& path : {result.index_path, result.tokens_path}) {
    RETURN_IF_ERROR(CheckOutput(path, IsOfMegatron, "of Megatron's form", {store.path()}));
  }
  ASSIGN_OR_RETURN(OutputFile tokens, OutputFile::Create(result.tokens_path));
  ASSIGN_OR_RETURN(OutputFile index, OutputFile::Create(result.index_path));
  RETURN_IF_ERROR(is_wide ? WriteTokens<int32_t>(store, &tokens)
                          : WriteTokens<uint16_t>(store, &tokens));
  RETURN_IF_ERROR(WriteIndex(store, result.dtype, max_sequence_tokens, &index));
  RETURN_IF_ERROR(tokens.Close());
  RETURN_IF_ERROR(index.Close());
  if (unlink(result.index_path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "cannot replace", result.index_path);
  }
  RETURN_IF_ERROR(tokens.Commit());
  RETURN_IF_ERROR(index.Commit());
  return result;
}

std::string ExportMegatronResult::ToString() const {
  return absl::StrCat(tokens_path, ", ", index_path, ": ", num_documents, " documents, ",
                      num_tokens, " tokens, ", Name(dtype));
}

}  // namespace wyvern
