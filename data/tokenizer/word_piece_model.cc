#include "data/tokenizer/word_piece_model.h"

#include "absl/strings/str_cat.h"
#include "data/tokenizer/code_points.h"

namespace wyvern {
namespace {

class WordPieceModel final : public TokenModel {
 public:
  WordPieceModel(const Vocabulary& vocabulary, const WordPieceOptions& options)
      : vocabulary_(vocabulary), options_(options) {}

  void Encode(absl::string_view piece, std::vector<int32_t>* ids) const override {
    const size_t old = ids->size();
    if (!Divide(piece, ids)) {
      ids->resize(old);
      ids->push_back(options_.unk);
    }
  }

 private:
  bool Divide(absl::string_view piece, std::vector<int32_t>* ids) const {
    int64_t characters = 0;
    for (size_t at = 0; at < piece.size(); at += static_cast<size_t>(CharacterLength(piece[at]))) {
      if (++characters > options_.max_characters) return false;
    }
    for (size_t begin = 0; begin < piece.size();) {
      size_t end = piece.size();
      std::optional<int32_t> id;
      while (begin < end) {
        const absl::string_view part = piece.substr(begin, end - begin);
        id = vocabulary_.Find(begin > 0 ? absl::StrCat(options_.prefix, part) : std::string(part));
        if (id.has_value()) break;
        do {
          --end;
        } while (end > begin && (static_cast<unsigned char>(piece[end]) & 0xC0) == 0x80);
      }
      if (!id.has_value()) return false;
      ids->push_back(*id);
      begin = end;
    }
    return true;
  }

  const Vocabulary& vocabulary_;
  const WordPieceOptions options_;
};

}  // namespace

std::unique_ptr<TokenModel> MakeWordPieceModel(const Vocabulary& vocabulary,
                                               const WordPieceOptions& options) {
  return std::make_unique<WordPieceModel>(vocabulary, options);
}

}  // namespace wyvern
