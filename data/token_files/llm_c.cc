// llm.c's shards, which modded-nanogpt and others read too: 256 int32, then tokens. The first three
// are the kind of file, its version and the number of tokens:
//
//   20240520, 1   tokens in uint16 (GPT-2)
//   20240801, 7   tokens in uint32 (Llama 3)
//
// The files say nothing of documents; each begins with the tokenizer's end of text.
#include <algorithm>
#include <cstring>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "data/token_files/file_values.h"
#include "data/token_files/layout.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr int64_t kHeaderBytes = 256 * 4;

struct Kind {
  int32_t magic, version;
  TokenDtype dtype;
};
constexpr Kind kKinds[] = {{20240520, 1, TokenDtype::kUint16}, {20240801, 7, TokenDtype::kUint32}};

}  // namespace

// The magic decides alone: a file of an unknown version has a header all the same, which is no
// tokens.
bool IsLlmC(const std::string& first_bytes) {
  int32_t magic = 0;
  if (first_bytes.size() < sizeof(magic)) return false;
  std::memcpy(&magic, first_bytes.data(), sizeof(magic));
  return std::any_of(std::begin(kKinds), std::end(kKinds),
                     [&](const Kind& kind) { return kind.magic == magic; });
}

absl::StatusOr<TokenLayout> LlmCLayout(const std::string& path, std::optional<TokenDtype> dtype) {
  ASSIGN_OR_RETURN(FileValues values, FileValues::Open(path, 0));
  int32_t magic = 0, version = 0, count = 0;
  RETURN_IF_ERROR(values.Read(&magic));
  RETURN_IF_ERROR(values.Read(&version));
  RETURN_IF_ERROR(values.Read(&count));
  const Kind* found = nullptr;
  for (const Kind& kind : kKinds) {
    if (kind.magic == magic && kind.version == version) found = &kind;
  }
  if (found == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": the header of llm.c has the magic ", magic, " and the version ", version,
        "; known are 20240520, 1 (uint16) and 20240801, 7 (uint32). If these "
        "are values without a header, name the format 'raw'"));
  }
  RETURN_IF_ERROR(CheckDtype(path, found->dtype, dtype));
  TokenLayout layout;
  layout.format = TokenFileFormat::kLlmC;
  layout.dtype = found->dtype;
  layout.begin = kHeaderBytes;
  ASSIGN_OR_RETURN(layout.num_tokens, CountValues(path, kHeaderBytes, Bytes(found->dtype)));
  if (layout.num_tokens != count) {
    return absl::DataLossError(absl::StrCat(path, ": its header counts ", count, " tokens, it has ",
                                            layout.num_tokens, "; copy or make it again"));
  }
  layout.paths = {path};
  return layout;
}

}  // namespace wyvern
