// Tokenizers: text to token ids and back.
#ifndef WYVERN_DATA_TOKENIZER_TOKENIZER_H_
#define WYVERN_DATA_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "data/tokenizer/tokenizer_bundle.h"

namespace wyvern {

// Immutable once made, so any number of threads may use one.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of the text alone: bos and eos are the caller's to add.
  virtual std::vector<int32_t> Encode(absl::string_view text) const = 0;
  // Ids of a text that stands behind another one, as an answer behind its prompt. Differs from
  // Encode where a tokenizer puts a space before every text.
  virtual std::vector<int32_t> EncodeBehind(absl::string_view text) const { return Encode(text); }
  // The bytes that the ids stand for. bos and eos give nothing, ids outside [0, vocab_size)
  // nothing.
  virtual std::string Decode(absl::Span<const int32_t> ids) const = 0;

  // The bytes that one id stands for inside of a text.
  virtual std::string BytesOf(int32_t id) const { return Decode({id}); }

  // Whether the token stands for itself and is no part of other text, as bos, eos and the markers
  // of a chat template.
  virtual bool is_added(int32_t id) const { return id == bos_id() || id == eos_id(); }

  // Whether a text's ids are those of its parts, wherever it is cut.
  virtual bool is_bytewise() const { return false; }

  virtual int64_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;

  // "byte", "sentencepiece", "tokenizer.json", "tiktoken" or "ids".
  virtual std::string kind() const = 0;
  // The serialized model, from which MakeTokenizer(kind(), model()) makes an equal tokenizer.
  virtual const std::string& model() const = 0;
  // The files of the tokenizer in a Hugging Face folder, by name.
  virtual std::map<std::string, std::string> files() const { return {}; }

  // 16 hex digits, FNV-1a (64 bits) of kind, a zero byte and what makes the ids: equal exactly for
  // tokenizers that give equal ids, on every machine.
  std::string hash() const;

 protected:
  // Everything that makes the ids. Files that go along, as a chat template, are no part of it.
  virtual std::string Identity() const { return model(); }
};

// The tokenizer that a config or command names: "byte", or the path of a SentencePiece model, a
// tokenizer.json or a tiktoken file, or of the folder that holds one. The content of the file
// decides. Errors: missing file; truncated, damaged or foreign model; settings that it has no use
// for.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& name_or_path,
                                                         const TokenizerSettings& settings = {});

// The tokenizer of a serialized model. `origin` names the model's place in messages.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const std::string& kind,
                                                         const std::string& model,
                                                         const std::string& origin);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TOKENIZER_H_
