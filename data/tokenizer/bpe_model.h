// Byte-pair encoding (arXiv 1508.07909): the pair of neighbours of the lowest rank is joined, the
// leftmost first, until no pair has a rank.
#ifndef WYVERN_DATA_TOKENIZER_BPE_MODEL_H_
#define WYVERN_DATA_TOKENIZER_BPE_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/token_model.h"

namespace wyvern {

struct BpeMerge {
  int32_t left, right;  // ids
  int32_t joined;       // id
  uint32_t rank;
};

struct BpeOptions {
  // Pieces are bytes, and the vocabulary writes them by ByteCharacters().
  bool byte_level = false;
  bool ignore_merges = false;     // a piece that is a token is that token
  std::optional<int32_t> unk;     // without it, unknown characters give nothing
  bool fuse_unk = false;          // one for a run of unknown characters
  bool byte_fallback = false;     // before unk, the tokens <0x00> to <0xFF>
  std::string continuing_prefix;  // of every character of a piece but the first
  std::string word_suffix;        // of the last one
};

// `vocabulary` must outlive the model. Of two merges of the same pair the last one counts. A piece
// of n characters takes a time of order n log n.
std::unique_ptr<TokenModel> MakeBpeModel(const Vocabulary& vocabulary,
                                         const std::vector<BpeMerge>& merges,
                                         const BpeOptions& options);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_BPE_MODEL_H_
