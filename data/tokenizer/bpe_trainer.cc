#include "data/tokenizer/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <queue>
#include <string>
#include <unordered_map>

#include "absl/container/flat_hash_map.h"
#include "data/tokenizer/byte_characters.h"

namespace wyvern {
namespace {

class Trainer {
 public:
  Trainer(const std::vector<CountedPiece>& pieces, const std::vector<std::string>& special_tokens,
          int64_t vocab_size)
      : vocab_size_(static_cast<size_t>(vocab_size)) {
    for (const std::string& token : special_tokens) IdOf(token);
    AddBytes();
    for (const CountedPiece& piece : pieces) AddWord(piece);
    QueueFormedPairs();
  }

  TrainedBpe Train() {
    while (trained_.tokens.size() < vocab_size_ && !queue_.empty()) {
      Candidate best = queue_.top();
      queue_.pop();
      const int64_t count = pairs_[best.pair].count;
      if (best.count != count) {  // other merges have taken from it since
        best.count = count;
        queue_.push(best);
        continue;
      }
      if (count < 1) break;
      Merge(best);
      QueueFormedPairs();
    }
    return std::move(trained_);
  }

 private:
  using Pair = uint64_t;  // the left id, then the right one

  struct Word {
    size_t begin;     // in symbols_
    uint32_t length;  // of symbols
    int64_t count;
  };
  struct PairState {
    int64_t count = 0;
    int32_t formed = -1;  // index into formed_, if it was formed since the last merge
  };
  struct FormedPair {
    Pair pair;
    std::vector<uint32_t> words;  // in which it was formed, each once
  };
  struct Candidate {
    int64_t count;  // when it was queued
    Pair pair;
    uint32_t words;                                 // index into words_of_
    bool operator<(const Candidate& other) const {  // the largest is merged first
      if (count != other.count) return count < other.count;
      if (pair != other.pair) return pair > other.pair;
      return words > other.words;
    }
  };

  static Pair PairOf(int32_t left, int32_t right) {
    return static_cast<Pair>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  static int32_t Left(Pair pair) { return static_cast<int32_t>(pair >> 32); }
  static int32_t Right(Pair pair) { return static_cast<int32_t>(pair & 0xFFFFFFFF); }

  // The token's id, a new one if it is new.
  int32_t IdOf(const std::string& token) {
    const auto [place, is_new] =
        ids_.try_emplace(token, static_cast<int32_t>(trained_.tokens.size()));
    if (is_new) trained_.tokens.push_back(token);
    return place->second;
  }

  void AddBytes() {
    std::array<size_t, 256> order;
    std::iota(order.begin(), order.end(), size_t{0});
    // UTF-8 sorts as the code points do.
    std::sort(order.begin(), order.end(),
              [](size_t a, size_t b) { return ByteCharacters()[a] < ByteCharacters()[b]; });
    for (const size_t byte : order) byte_ids_[byte] = IdOf(ByteCharacters()[byte]);
  }

  void AddWord(const CountedPiece& piece) {
    if (piece.bytes.size() < 2) return;
    const auto index = static_cast<uint32_t>(words_.size());
    words_.push_back({symbols_.size(), static_cast<uint32_t>(piece.bytes.size()), piece.count});
    for (const char byte : piece.bytes) {
      symbols_.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
      if (symbols_.size() - 1 == words_.back().begin) continue;
      Form(PairOf(symbols_[symbols_.size() - 2], symbols_.back()), index);
    }
  }

  // The pair is there once more in the word.
  void Form(Pair pair, uint32_t word) {
    PairState& state = pairs_[pair];
    state.count += words_[word].count;
    if (state.formed < 0) {
      state.formed = static_cast<int32_t>(formed_.size());
      formed_.push_back({pair, {}});
    }
    std::vector<uint32_t>& words = formed_[static_cast<size_t>(state.formed)].words;
    if (words.empty() || words.back() != word) words.push_back(word);
  }
  // And once less.
  void Break(Pair pair, uint32_t word) { pairs_[pair].count -= words_[word].count; }

  void QueueFormedPairs() {
    for (FormedPair& formed : formed_) {
      PairState& state = pairs_[formed.pair];
      state.formed = -1;
      if (state.count <= 0) continue;
      queue_.push({state.count, formed.pair, static_cast<uint32_t>(words_of_.size())});
      words_of_.push_back(std::move(formed.words));
    }
    formed_.clear();
  }

  void Merge(const Candidate& candidate) {
    const int32_t left = Left(candidate.pair), right = Right(candidate.pair);
    const int32_t joined = IdOf(trained_.tokens[static_cast<size_t>(left)] +
                                trained_.tokens[static_cast<size_t>(right)]);
    trained_.merges.push_back({left, right});
    const std::vector<uint32_t> words = std::move(words_of_[candidate.words]);
    for (const uint32_t word : words) MergeIn(word, left, right, joined);
  }

  void MergeIn(uint32_t index, int32_t left, int32_t right, int32_t joined) {
    Word& word = words_[index];
    int32_t* const symbols = symbols_.data() + word.begin;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < word.length;) {
      if (symbols[i] != left || i + 1 == word.length || symbols[i + 1] != right) {
        symbols[kept++] = symbols[i++];
        continue;
      }
      if (kept > 0) {
        Break(PairOf(symbols[kept - 1], left), index);
        Form(PairOf(symbols[kept - 1], joined), index);
      }
      symbols[kept++] = joined;
      i += 2;
      if (i < word.length) {
        Break(PairOf(right, symbols[i]), index);
        Form(PairOf(joined, symbols[i]), index);
      }
    }
    word.length = kept;
  }

  const size_t vocab_size_;
  TrainedBpe trained_;
  std::unordered_map<std::string, int32_t> ids_;
  std::array<int32_t, 256> byte_ids_;
  std::vector<int32_t> symbols_;  // of all words
  std::vector<Word> words_;
  absl::flat_hash_map<Pair, PairState> pairs_;
  std::vector<FormedPair> formed_;
  std::priority_queue<Candidate> queue_;         // its counts may be too large, never too small
  std::vector<std::vector<uint32_t>> words_of_;  // of candidates
};

}  // namespace

TrainedBpe TrainBpe(const std::vector<CountedPiece>& pieces,
                    const std::vector<std::string>& special_tokens, int64_t vocab_size) {
  return Trainer(pieces, special_tokens, vocab_size).Train();
}

}  // namespace wyvern
