// Token ids that another program made, read in order and in bounded memory.
#ifndef WYVERN_DATA_TOKEN_FILES_TOKEN_FILE_H_
#define WYVERN_DATA_TOKEN_FILES_TOKEN_FILE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/text/text_source.h"
#include "data/token_files/token_dtype.h"

namespace wyvern {

enum class TokenFileFormat {
  kAuto,       // what name and first bytes show
  kMegatron,   // Megatron-LM's .bin and .idx
  kLlmC,       // llm.c's .bin, with a header
  kDatatrove,  // datatrove's and nanotron's .ds, with .ds.index
  kNpy,        // NumPy's .npy
  kRaw,        // nothing but values
};

std::string Name(TokenFileFormat format);
std::optional<TokenFileFormat> ParseTokenFileFormat(const std::string& name);

struct TokenFileOptions {
  TokenFileFormat format = TokenFileFormat::kAuto;
  // Needed where the file does not say its type; an error if the file says another one.
  std::optional<TokenDtype> dtype;
};

// A document, or part of a long one.
struct TokenPiece {
  std::vector<int32_t> tokens;  // not empty
  bool ends_document = true;
};

class TokenFile {
 public:
  // Checks the header and that the file has the size that its header or index says. `path` of
  // Megatron's pair is either file, or what both names begin with. Errors: no such file, unknown
  // content, a header or index that cannot be, a type that is missing or another one.
  static absl::StatusOr<std::unique_ptr<TokenFile>> Open(const std::string& path,
                                                         const TokenFileOptions& options);
  virtual ~TokenFile() = default;

  virtual TokenFileFormat format() const = 0;
  virtual TokenDtype dtype() const = 0;
  virtual int64_t num_tokens() const = 0;
  // Whether it says where documents end. Else all of it is one.
  virtual bool has_documents() const = 0;

  // The file that holds the tokens, then those that describe it.
  virtual const std::vector<std::string>& paths() const = 0;

  // Fills `piece` and returns true, or returns false at the end. Empty documents are left out.
  // Errors name the file: an id outside [0, vocab_size) and its position, an index that does not
  // fit the tokens, a file that changed since Open.
  virtual absl::StatusOr<bool> Next(int64_t vocab_size, TokenPiece* piece) = 0;
  // Empty documents so far.
  virtual int64_t empty_documents() const = 0;
  // Behind the end: of each of paths().
  virtual const std::vector<ReadFileInfo>& read_files() const = 0;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKEN_FILES_TOKEN_FILE_H_
