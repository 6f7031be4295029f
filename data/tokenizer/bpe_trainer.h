// Learns a byte-level byte-pair encoding from counted pieces of text (arXiv 1508.07909).
#ifndef WYVERN_DATA_TOKENIZER_BPE_TRAINER_H_
#define WYVERN_DATA_TOKENIZER_BPE_TRAINER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace wyvern {

struct CountedPiece {
  std::string bytes;  // of text; no merge leaves a piece
  int64_t count = 0;
};

struct TrainedBpe {
  std::vector<std::string> tokens;  // by id; bytes are written by ByteCharacters()
  // Ids, in the order of the ranks. A later merge may make a token that is there already.
  std::vector<std::pair<int32_t, int32_t>> merges;
};

// The pair of neighbours with the largest count is joined, of equal ones the one of the lowest ids,
// until there are `vocab_size` tokens or no pair is left. `special_tokens` have the first ids, then
// come the 256 bytes in the order of their characters.
//
// The merges are those of BpeTrainer in PyPI's tokenizers, in its rare cases too: the count of a
// pair that was joined stays as it was, and counts on where another merge makes its tokens again.
// Each merge takes a time proportional to the length of the pieces in which it occurs.
TrainedBpe TrainBpe(const std::vector<CountedPiece>& pieces,
                    const std::vector<std::string>& special_tokens, int64_t vocab_size);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_BPE_TRAINER_H_
