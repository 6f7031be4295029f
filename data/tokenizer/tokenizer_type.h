#ifndef WYVERN_DATA_TOKENIZER_TOKENIZER_TYPE_H_
#define WYVERN_DATA_TOKENIZER_TOKENIZER_TYPE_H_

namespace wyvern {

enum class TokenizerType {
  kStore,    // the one that is embedded in the token stores
  kByte,     // every byte is a token
  kFile,     // a SentencePiece model or a tokenizer.json that exists
  kBpe,      // a SentencePiece model that is trained by byte-pair encoding
  kUnigram,  // or by a unigram language model
};

constexpr const char* Name(TokenizerType type) {
  switch (type) {
    case TokenizerType::kStore:
      return "store";
    case TokenizerType::kByte:
      return "byte";
    case TokenizerType::kFile:
      return "file";
    case TokenizerType::kBpe:
      return "bpe";
    case TokenizerType::kUnigram:
      return "unigram";
  }
  return "?";
}

constexpr bool IsTrained(TokenizerType type) {
  return type == TokenizerType::kBpe || type == TokenizerType::kUnigram;
}

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TOKENIZER_TYPE_H_
