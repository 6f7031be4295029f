#include "data/tokenizer/sentencepiece_encoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "data/io/utf8.h"
#include "data/tokenizer/bpe_model.h"
#include "data/tokenizer/code_points.h"
#include "data/tokenizer/piece_cache.h"
#include "data/tokenizer/piece_trie.h"
#include "data/tokenizer/sentencepiece_file.h"

namespace wyvern {
namespace {

using Piece = SentencePieceFile::Piece;

constexpr absl::string_view kSpace = "\xE2\x96\x81";  // U+2581, by which pieces write a space

// Which characters stand beside each other in a piece. Others may seem to, by their hashes.
class Neighbours {
 public:
  Neighbours() : hashed_((size_t{1} << kLog2Bits) / 64) {}

  void Add(uint32_t left, uint32_t right) {
    const size_t bit = Bit(left, right);
    hashed_[bit / 64] |= uint64_t{1} << (bit % 64);
  }
  bool MayJoin(uint32_t left, uint32_t right) const {
    const size_t bit = Bit(left, right);
    return (hashed_[bit / 64] >> (bit % 64)) & 1;
  }

 private:
  static constexpr int kLog2Bits = 20;
  // Pairs of ASCII have the first 2^14 bits for themselves.
  static size_t Bit(uint32_t left, uint32_t right) {
    if ((left | right) < 128) return left << 7 | right;
    const uint64_t pair = static_cast<uint64_t>(left) << 32 | right;
    return (pair * 0x9E3779B97F4A7C15) >> (64 - kLog2Bits) | size_t{1} << 14;
  }

  std::vector<uint64_t> hashed_;
};

// The pieces of a model, a space in the place of U+2581.
struct ModelPieces {
  Vocabulary vocabulary;      // those that stand for text
  std::vector<float> scores;  // by id
  std::array<int32_t, 256> bytes;
  Neighbours neighbours;
  bool add_dummy_prefix = false;
};

std::string NameOfByte(size_t byte) { return absl::StrFormat("<0x%02X>", byte); }

// Whether every character of the piece is a piece itself.
bool HasCharacters(const std::string& text, const Vocabulary& vocabulary) {
  for (size_t at = 0; at < text.size();) {
    const auto length = static_cast<size_t>(CharacterLength(text[at]));
    if (!vocabulary.Find(absl::string_view(text).substr(at, length)).has_value()) return false;
    at += length;
  }
  return true;
}

bool AddPieces(const SentencePieceFile& file, ModelPieces* pieces) {
  pieces->bytes.fill(-1);
  std::vector<std::string> texts;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const Piece& piece = file.pieces[id];
    pieces->scores.push_back(piece.score);
    switch (piece.type) {
      case SentencePieceFile::kNormal: {
        std::string text = absl::StrReplaceAll(piece.text, {{kSpace, " "}});
        if (text.empty() || Utf8PrefixLength(text) != text.size() || std::isnan(piece.score) ||
            absl::StrContains(piece.text, " ") ||
            !pieces->vocabulary.Add(text, static_cast<int64_t>(id))) {
          return false;
        }
        texts.push_back(std::move(text));
        break;
      }
      case SentencePieceFile::kByte:
        for (size_t byte = 0; byte < 256; ++byte) {
          if (piece.text == NameOfByte(byte)) pieces->bytes[byte] = static_cast<int32_t>(id);
        }
        break;
      case SentencePieceFile::kUnknown:
      case SentencePieceFile::kControl:
        break;
      default:
        return false;
    }
  }
  for (const std::string& text : texts) {
    if (!HasCharacters(text, pieces->vocabulary)) return false;
    uint32_t left = 0;
    for (size_t at = 0; at < text.size();) {
      int length;
      const uint32_t right = DecodeCharacter(text.data() + at, &length);
      if (at > 0) pieces->neighbours.Add(left, right);
      left = right;
      at += static_cast<size_t>(length);
    }
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    if (pieces->bytes[byte] < 0 || pieces->vocabulary.Find(NameOfByte(byte)).has_value()) {
      return false;
    }
  }
  return true;
}

// Calls part(begin, end) for parts that no piece goes beyond.
template <typename Part>
void ForEachPart(absl::string_view text, const Neighbours& neighbours, const Part& part) {
  size_t begin = 0;
  uint32_t left = 0;
  for (size_t at = 0; at < text.size();) {
    int length;
    const uint32_t right = DecodeCharacter(text.data() + at, &length);
    if (at > begin && !neighbours.MayJoin(left, right)) {
      part(begin, at);
      begin = at;
    }
    left = right;
    at += static_cast<size_t>(length);
  }
  if (begin < text.size()) part(begin, text.size());
}

// A text as the pieces write it.
class Spelling {
 public:
  Spelling(absl::string_view text, bool add_dummy_prefix) : text_(text) {
    const bool marks = absl::StrContains(text, kSpace);
    if (text.empty() || (!marks && !add_dummy_prefix)) return;
    owned_ = absl::StrCat(add_dummy_prefix ? " " : "", text);
    if (marks) owned_ = absl::StrReplaceAll(owned_, {{kSpace, " "}});
    text_ = owned_;
  }
  Spelling(const Spelling&) = delete;
  absl::string_view text() const { return text_; }

 private:
  std::string owned_;
  absl::string_view text_;
};

// The leftmost of several pairs with the same score is joined first.
class BpeEncoder final : public SentencePieceEncoder {
 public:
  explicit BpeEncoder(std::unique_ptr<ModelPieces> pieces) : pieces_(std::move(pieces)) {
    const std::vector<BpeMerge> merges = MergesOf(*pieces_);
    for (size_t byte = 0; byte < 256; ++byte) {
      pieces_->vocabulary.Add(NameOfByte(byte), pieces_->bytes[byte]);
    }
    model_ = MakeBpeModel(pieces_->vocabulary, merges, {.byte_fallback = true});
  }

  std::vector<int32_t> Encode(absl::string_view text) const override {
    const Spelling spelling(text, pieces_->add_dummy_prefix);
    text = spelling.text();
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3 + 16);
    PieceCache& cache = PieceCacheOf(cache_owner_);
    ForEachPart(text, pieces_->neighbours, [&](size_t begin, size_t end) {
      const absl::string_view part = text.substr(begin, end - begin);
      if (part.size() > PieceCache::kMaxBytes) {
        model_->Encode(part, &ids);
        return;
      }
      const PieceCache::Key key = PieceCache::KeyOf(part, text.size() - begin);
      if (cache.Find(key, &ids)) return;
      const size_t old = ids.size();
      model_->Encode(part, &ids);
      cache.Insert(key, ids.data() + old, ids.size() - old);
    });
    return ids;
  }

 private:
  // Two pieces are joined whenever that makes a piece, the one of the best score first.
  static std::vector<BpeMerge> MergesOf(const ModelPieces& pieces) {
    std::map<float, uint32_t, std::greater<float>> ranks;
    std::vector<BpeMerge> merges;
    const Vocabulary& vocabulary = pieces.vocabulary;
    for (int32_t id = 0; id < vocabulary.end_id(); ++id) {
      const std::string* token = vocabulary.Token(id);
      if (token == nullptr) continue;
      ranks[pieces.scores[static_cast<size_t>(id)]] = 0;
      for (size_t cut = 1; cut < token->size(); ++cut) {
        if (((*token)[cut] & 0xC0) == 0x80) continue;  // inside a character
        const auto left = vocabulary.Find(absl::string_view(*token).substr(0, cut));
        const auto right = vocabulary.Find(absl::string_view(*token).substr(cut));
        if (left.has_value() && right.has_value()) merges.push_back({*left, *right, id, 0});
      }
    }
    uint32_t rank = 0;
    for (auto& [score, its_rank] : ranks) its_rank = rank++;
    for (BpeMerge& merge : merges) {
      merge.rank = ranks[pieces.scores[static_cast<size_t>(merge.joined)]];
    }
    return merges;
  }

  const std::unique_ptr<ModelPieces> pieces_;
  std::unique_ptr<TokenModel> model_;
  const uint64_t cache_owner_ = NewPieceCacheOwner();
};

// Finds the pieces with the largest sum of scores. Sums are rounded as version 0.1.97
// of the library rounds them, from the text's beginning on: this decides between equal ones.
class UnigramEncoder final : public SentencePieceEncoder {
 public:
  UnigramEncoder(std::unique_ptr<ModelPieces> pieces, float smallest_score)
      : pieces_(std::move(pieces)),
        trie_(pieces_->vocabulary),
        unknown_score_(smallest_score - 10.0f) {}

  std::vector<int32_t> Encode(absl::string_view text) const override {
    const Spelling spelling(text, pieces_->add_dummy_prefix);
    text = spelling.text();
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3 + 16);
    std::vector<Best> best;
    float score = 0;
    ForEachPart(text, pieces_->neighbours, [&](size_t begin, size_t end) {
      AddPart(text.substr(begin, end - begin), &score, &best, &ids);
    });
    return ids;
  }

 private:
  struct Best {
    float score = 0;
    int32_t begin = -1;  // of the last piece; -1: nothing ends here
    int32_t id = 0;      // -1: unknown
  };

  // `score`: the sum up to the part, then up to its end.
  void AddPart(absl::string_view part, float* score, std::vector<Best>* all,
               std::vector<int32_t>* ids) const {
    all->assign(part.size() + 1, {});
    Best* const best = all->data();
    best[0].score = *score;
    for (size_t begin = 0; begin < part.size();) {
      const float before = best[begin].score;
      const auto offer = [&](size_t end, double sum, int32_t id) {
        if (best[end].begin >= 0 && !(sum > double{best[end].score})) return;
        best[end] = {static_cast<float>(sum), static_cast<int32_t>(begin), id};
      };
      const size_t next = begin + static_cast<size_t>(CharacterLength(part[begin]));
      bool has_character = false;
      int32_t node = 0;
      for (size_t at = begin; at < part.size(); ++at) {
        node = trie_.Next(node, part[at]);
        if (node < 0) break;
        const int32_t id = trie_.TokenAt(node);
        if (id < 0) continue;
        offer(at + 1, double{pieces_->scores[static_cast<size_t>(id)]} + double{before}, id);
        has_character = has_character || at + 1 == next;
      }
      if (!has_character) offer(next, double{unknown_score_ + before}, -1);
      begin = next;
    }
    *score = best[part.size()].score;
    const size_t old = ids->size();
    for (size_t end = part.size(); end > 0;) {
      const auto begin = static_cast<size_t>(best[end].begin);
      if (best[end].id >= 0) {
        ids->push_back(best[end].id);
      } else {
        for (size_t at = end; at-- > begin;) {
          ids->push_back(pieces_->bytes[static_cast<unsigned char>(part[at])]);
        }
      }
      end = begin;
    }
    std::reverse(ids->begin() + static_cast<int64_t>(old), ids->end());
  }

  const std::unique_ptr<ModelPieces> pieces_;
  const PieceTrie trie_;
  const float unknown_score_;
};

}  // namespace

std::unique_ptr<SentencePieceEncoder> SentencePieceEncoder::Make(const std::string& model) {
  const std::optional<SentencePieceFile> file = ReadSentencePieceFile(model);
  if (!file.has_value() || !file->byte_fallback || file->treat_whitespace_as_suffix ||
      file->remove_extra_whitespaces || !file->escape_whitespaces || file->has_character_map) {
    return nullptr;
  }
  auto pieces = std::make_unique<ModelPieces>();
  pieces->add_dummy_prefix = file->add_dummy_prefix;
  if (!AddPieces(*file, pieces.get())) return nullptr;
  if (file->model_type == SentencePieceFile::kBpe) {
    return std::make_unique<BpeEncoder>(std::move(pieces));
  }
  if (file->model_type != SentencePieceFile::kUnigram) return nullptr;
  float smallest = std::numeric_limits<float>::max();
  for (const Piece& piece : file->pieces) {
    if (piece.type == SentencePieceFile::kNormal) smallest = std::min(smallest, piece.score);
  }
  return std::make_unique<UnigramEncoder>(std::move(pieces), smallest);
}

}  // namespace wyvern
