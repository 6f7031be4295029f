#include "data/tokenizer/bpe_model.h"

#include <algorithm>
#include <array>
#include <limits>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/tokenizer/byte_characters.h"
#include "data/tokenizer/code_points.h"

namespace wyvern {
namespace {

constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
constexpr int32_t kUnknown = -1;

// Pairs of ids to what they join to: open addressing.
class MergeTable {
 public:
  struct Merge {
    uint64_t pair = kEmpty;
    uint32_t rank = kNoRank;
    int32_t joined = 0;
  };

  explicit MergeTable(const std::vector<BpeMerge>& merges) {
    while (slots_.size() < 2 * merges.size() + 2) slots_.resize(2 * slots_.size());
    shift_ = 64;
    for (size_t size = slots_.size(); size > 1; size /= 2) --shift_;
    for (const BpeMerge& merge : merges) {
      Merge& slot = slots_[Place(PairOf(merge.left, merge.right))];
      slot = {PairOf(merge.left, merge.right), merge.rank, merge.joined};
    }
  }

  // A pair without a merge has the rank kNoRank.
  const Merge& Find(int32_t left, int32_t right) const {
    return slots_[Place(PairOf(left, right))];
  }

 private:
  static constexpr uint64_t kEmpty = std::numeric_limits<uint64_t>::max();

  static uint64_t PairOf(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t Place(uint64_t pair) const {
    size_t place = (pair * 0x9E3779B97F4A7C15) >> shift_;
    while (slots_[place].pair != pair && slots_[place].pair != kEmpty) {
      place = (place + 1) & (slots_.size() - 1);
    }
    return place;
  }

  std::vector<Merge> slots_ = std::vector<Merge>(2);
  int shift_;
};

class BpeModel final : public TokenModel {
 public:
  BpeModel(const Vocabulary& vocabulary, const std::vector<BpeMerge>& merges,
           const BpeOptions& options)
      : vocabulary_(vocabulary), options_(options), merges_(merges) {
    plain_ = options.continuing_prefix.empty() && options.word_suffix.empty();
    for (size_t b = 0; b < 256; ++b) {
      byte_ids_[b] = vocabulary.Find(ByteCharacters()[b]).value_or(kUnknown);
      fallback_[b] = vocabulary.Find(absl::StrFormat("<0x%02X>", b)).value_or(kUnknown);
    }
    for (int32_t id = 0; id < vocabulary.end_id(); ++id) {
      const std::string* token = vocabulary.Token(id);
      if (token == nullptr || token->empty()) continue;
      if (!options.byte_level) {
        int length;
        const uint32_t c = DecodeCharacter(token->data(), &length);
        if (token->size() != static_cast<size_t>(length)) continue;
        if (c >= character_ids_.size()) character_ids_.resize(c + 1, kUnknown);
        character_ids_[c] = id;
      } else if (auto bytes = BytesOfCharacters(*token)) {
        words_.emplace(*std::move(bytes), id);
      }
    }
  }

  void Encode(absl::string_view piece, std::vector<int32_t>* ids) const override {
    if (options_.ignore_merges) {
      if (const std::optional<int32_t> id = Word(piece)) {
        ids->push_back(*id);
        return;
      }
    }
    constexpr size_t kFew = 48;
    if (plain_ && piece.size() <= kFew) {
      std::array<int32_t, 2 * kFew> symbols;
      size_t count = 0;
      AddSymbols(piece, [&](int32_t id) { symbols[count++] = id; });
      if (count <= kFew) {
        MergeFew(symbols.data(), &count);
        ids->insert(ids->end(), symbols.begin(), symbols.begin() + static_cast<int64_t>(count));
        return;
      }
    }
    std::vector<int32_t> symbols;
    symbols.reserve(piece.size());
    AddSymbols(piece, [&](int32_t id) { symbols.push_back(id); });
    MergeMany(symbols, ids);
  }

 private:
  std::optional<int32_t> Word(absl::string_view piece) const {
    if (!options_.byte_level) return vocabulary_.Find(piece);
    const auto found = words_.find(std::string(piece));
    if (found == words_.end()) return std::nullopt;
    return found->second;
  }

  // The ids of the piece's characters, before merges.
  template <typename Add>
  void AddSymbols(absl::string_view piece, const Add& add) const {
    std::string spelt;
    bool pending = false;  // an unknown token that has not been added
    const auto known = [&](int32_t id) {
      if (pending) add(*options_.unk);
      pending = false;
      add(id);
    };
    for (size_t at = 0; at < piece.size();) {
      absl::string_view character = piece.substr(at, 1);
      int32_t id;
      if (options_.byte_level && plain_) {
        id = byte_ids_[static_cast<unsigned char>(piece[at])];
        at += 1;
        if (id == kUnknown) {
          character = ByteCharacters()[static_cast<unsigned char>(character[0])];
        }
      } else {
        int length;
        const uint32_t c = DecodeCharacter(piece.data() + at, &length);
        character = piece.substr(at, static_cast<size_t>(length));
        at += character.size();
        if (plain_) {
          id = c < character_ids_.size() ? character_ids_[c] : kUnknown;
        } else {
          spelt = absl::StrCat(at > character.size() ? options_.continuing_prefix : "", character,
                               at == piece.size() ? options_.word_suffix : "");
          character = spelt;
          id = vocabulary_.Find(character).value_or(kUnknown);
        }
      }
      if (id != kUnknown) {
        known(id);
        continue;
      }
      if (options_.byte_fallback && std::all_of(character.begin(), character.end(), [this](char c) {
            return fallback_[static_cast<unsigned char>(c)] != kUnknown;
          })) {
        // An unknown token that waits comes behind these, as tokenizers has it.
        for (const char c : character) add(fallback_[static_cast<unsigned char>(c)]);
        continue;
      }
      if (!options_.unk.has_value()) continue;
      if (pending && !options_.fuse_unk) add(*options_.unk);
      pending = true;
    }
    if (pending) add(*options_.unk);
  }

  // Merges in place, by looking through all pairs each time.
  void MergeFew(int32_t* symbols, size_t* count) const {
    std::array<uint32_t, 48> ranks;  // of the pair that begins here
    std::array<int32_t, 48> joined;
    size_t n = *count;
    const auto look_up = [&](size_t i) {
      const MergeTable::Merge& merge = merges_.Find(symbols[i], symbols[i + 1]);
      ranks[i] = merge.rank;
      joined[i] = merge.joined;
    };
    for (size_t i = 0; i + 1 < n; ++i) look_up(i);
    while (n > 1) {
      size_t best = 0;
      uint32_t best_rank = ranks[0];
      for (size_t i = 1; i + 1 < n; ++i) {
        if (ranks[i] < best_rank) {
          best_rank = ranks[i];
          best = i;
        }
      }
      if (best_rank == kNoRank) break;
      symbols[best] = joined[best];
      std::copy(symbols + best + 2, symbols + n, symbols + best + 1);
      std::copy(ranks.begin() + best + 2, ranks.begin() + n, ranks.begin() + best + 1);
      std::copy(joined.begin() + best + 2, joined.begin() + n, joined.begin() + best + 1);
      --n;
      if (best + 1 < n) look_up(best);
      if (best > 0) look_up(best - 1);
    }
    *count = n;
  }

  // The same for pieces of any length, with a heap of pairs and a list of symbols.
  void MergeMany(const std::vector<int32_t>& characters, std::vector<int32_t>* ids) const {
    struct Symbol {
      int32_t id, previous, next;  // previous and next: places, or -1
      bool gone;
    };
    struct Pair {
      uint32_t rank;
      int32_t place, joined;
      bool operator>(const Pair& other) const {
        return rank != other.rank ? rank > other.rank : place > other.place;
      }
    };
    const auto n = static_cast<int32_t>(characters.size());
    std::vector<Symbol> symbols(characters.size());
    std::vector<Pair> first;
    const auto at = [&symbols](int32_t place) -> Symbol& {
      return symbols[static_cast<size_t>(place)];
    };
    for (int32_t i = 0; i < n; ++i) {
      at(i) = {characters[static_cast<size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1, false};
      if (i == 0) continue;
      const MergeTable::Merge& merge = merges_.Find(at(i - 1).id, at(i).id);
      if (merge.rank != kNoRank) first.push_back({merge.rank, i - 1, merge.joined});
    }
    std::priority_queue<Pair, std::vector<Pair>, std::greater<Pair>> queue(std::greater<Pair>(),
                                                                           std::move(first));
    const auto push = [&](int32_t left, int32_t right) {
      const MergeTable::Merge& merge = merges_.Find(at(left).id, at(right).id);
      if (merge.rank != kNoRank) queue.push({merge.rank, left, merge.joined});
    };
    while (!queue.empty()) {
      const Pair pair = queue.top();
      queue.pop();
      Symbol& left = at(pair.place);
      if (left.gone || left.next < 0) continue;
      const MergeTable::Merge& now = merges_.Find(left.id, at(left.next).id);
      if (now.rank == kNoRank || now.joined != pair.joined) continue;  // the pair is gone
      Symbol& right = at(left.next);
      left.id = pair.joined;
      left.next = right.next;
      right.gone = true;
      if (left.next >= 0) at(left.next).previous = pair.place;
      if (left.previous >= 0) push(left.previous, pair.place);
      if (left.next >= 0) push(pair.place, left.next);
    }
    for (const Symbol& symbol : symbols) {
      if (!symbol.gone) ids->push_back(symbol.id);
    }
  }

  const Vocabulary& vocabulary_;
  const BpeOptions options_;
  const MergeTable merges_;
  bool plain_;  // neither prefix nor suffix
  std::array<int32_t, 256> byte_ids_, fallback_;
  std::vector<int32_t> character_ids_;              // not byte_level: by code point
  std::unordered_map<std::string, int32_t> words_;  // byte_level: the tokens as bytes
};

}  // namespace

std::unique_ptr<TokenModel> MakeBpeModel(const Vocabulary& vocabulary,
                                         const std::vector<BpeMerge>& merges,
                                         const BpeOptions& options) {
  return std::make_unique<BpeModel>(vocabulary, merges, options);
}

}  // namespace wyvern
