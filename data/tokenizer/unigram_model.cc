#include "data/tokenizer/unigram_model.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/strings/str_format.h"
#include "data/tokenizer/code_points.h"
#include "data/tokenizer/piece_trie.h"

namespace wyvern {
namespace {

constexpr double kUnknownPenalty = 10;  // below the smallest score

class UnigramModel final : public TokenModel {
 public:
  UnigramModel(const Vocabulary& vocabulary, const std::vector<double>& scores, int32_t unk,
               bool byte_fallback)
      : vocabulary_(vocabulary), scores_(scores), unk_(unk), trie_(vocabulary) {
    double smallest = std::numeric_limits<double>::infinity();
    for (const double score : scores) smallest = std::min(smallest, score);
    unknown_score_ = smallest - kUnknownPenalty;
    for (size_t b = 0; byte_fallback && b < 256; ++b) {
      bytes_[b] = vocabulary.Find(absl::StrFormat("<0x%02X>", b)).value_or(-1);
    }
  }

  void Encode(absl::string_view piece, std::vector<int32_t>* ids) const override {
    struct Best {
      double score = 0;
      int64_t begin = -1;  // of the last token; -1: nothing ends here
      int32_t id = 0;
    };
    std::vector<Best> best(piece.size() + 1);
    for (size_t begin = 0; begin < piece.size();) {
      const double before = best[begin].score;
      const auto offer = [&](size_t end, double score, int32_t id) {
        if (best[end].begin >= 0 && !(score + before > best[end].score)) return;
        best[end] = {score + before, static_cast<int64_t>(begin), id};
      };
      const size_t next = begin + static_cast<size_t>(CharacterLength(piece[begin]));
      bool has_character = false;
      int32_t node = 0;
      for (size_t at = begin; at < piece.size(); ++at) {
        node = trie_.Next(node, piece[at]);
        if (node < 0) break;
        const int32_t id = trie_.TokenAt(node);
        if (id < 0) continue;
        offer(at + 1, scores_[static_cast<size_t>(id)], id);
        has_character = has_character || at + 1 == next;
      }
      if (!has_character) offer(next, unknown_score_, unk_);
      begin = next;
    }
    // From the end: runs of unknown characters are one.
    std::vector<std::pair<size_t, size_t>> parts;
    bool in_unknown = false;
    for (size_t end = piece.size(); end > 0;) {
      const auto begin = static_cast<size_t>(best[end].begin);
      const bool unknown = best[end].id == unk_;
      if (unknown && in_unknown) {
        parts.back().first = begin;
      } else {
        parts.push_back({begin, end});
      }
      in_unknown = unknown;
      end = begin;
    }
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      AddPart(piece.substr(part->first, part->second - part->first), ids);
    }
  }

 private:
  void AddPart(absl::string_view part, std::vector<int32_t>* ids) const {
    if (const std::optional<int32_t> id = vocabulary_.Find(part)) {
      ids->push_back(*id);
      return;
    }
    if (std::all_of(part.begin(), part.end(),
                    [this](char c) { return bytes_[static_cast<unsigned char>(c)] >= 0; })) {
      for (const char c : part) ids->push_back(bytes_[static_cast<unsigned char>(c)]);
      return;
    }
    ids->push_back(unk_);
  }

  static std::array<int32_t, 256> None() {
    std::array<int32_t, 256> none;
    none.fill(-1);
    return none;
  }

  const Vocabulary& vocabulary_;
  const std::vector<double> scores_;
  const int32_t unk_;
  const PieceTrie trie_;
  double unknown_score_;
  std::array<int32_t, 256> bytes_ = None();  // tokens of the fallback
};

}  // namespace

std::unique_ptr<TokenModel> MakeUnigramModel(const Vocabulary& vocabulary,
                                             const std::vector<double>& scores, int32_t unk,
                                             bool byte_fallback) {
  return std::make_unique<UnigramModel>(vocabulary, scores, unk, byte_fallback);
}

}  // namespace wyvern
