#include "data/tokenizer/tokenizer.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/file.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "data/tokenizer/id_tokenizer.h"
#include "data/tokenizer/sentencepiece_tokenizer.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"

namespace wyvern {

std::string Tokenizer::hash() const {
  return absl::StrFormat("%016x", HashName(kind() + '\0' + model()));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& name_or_path) {
  if (name_or_path == "byte") return MakeByteTokenizer();
  absl::StatusOr<std::string> model = ReadFile(name_or_path);
  if (!model.ok()) {
    return absl::Status(model.status().code(),
                        absl::StrCat("tokenizer: ", model.status().message(),
                                     "; expected 'byte' or the path of a SentencePiece model"));
  }
  return MakeSentencePieceTokenizer(*model, name_or_path);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const std::string& kind,
                                                         const std::string& model,
                                                         const std::string& origin) {
  if (kind == "byte") return MakeByteTokenizer();
  if (kind == "sentencepiece") return MakeSentencePieceTokenizer(model, origin);
  if (kind == kIdTokenizerKind) return MakeIdTokenizer(model, origin);
  return absl::InvalidArgumentError(absl::StrCat(origin, ": unknown tokenizer kind '", kind,
                                                 "'; expected byte, sentencepiece or ids"));
}

}  // namespace wyvern
