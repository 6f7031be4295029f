#ifndef WYVERN_TESTS_TRAINER_REQUESTS_PIECE_TOKENIZER_H_
#define WYVERN_TESTS_TRAINER_REQUESTS_PIECE_TOKENIZER_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// Takes the longest of its pieces that fits, so the ids of a text depend on where it is cut. Bytes
// of no piece are left out. bos is the first id, if asked for, and eos the last one.
class PieceTokenizer final : public Tokenizer {
 public:
  explicit PieceTokenizer(std::vector<std::string> pieces, bool has_bos = false)
      : pieces_(std::move(pieces)), has_bos_(has_bos) {
    if (has_bos_) pieces_.insert(pieces_.begin(), "");
    pieces_.push_back("");
  }

  std::vector<int32_t> Encode(absl::string_view text) const override {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      size_t best = pieces_.size(), length = 0;
      for (size_t id = 0; id < pieces_.size(); ++id) {
        if (pieces_[id].size() <= length || text.substr(0, pieces_[id].size()) != pieces_[id]) {
          continue;
        }
        best = id;
        length = pieces_[id].size();
      }
      if (length > 0) ids.push_back(static_cast<int32_t>(best));
      text.remove_prefix(length == 0 ? 1 : length);
    }
    return ids;
  }
  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) text += pieces_.at(static_cast<size_t>(id));
    return text;
  }
  int64_t vocab_size() const override { return static_cast<int64_t>(pieces_.size()); }
  std::optional<int32_t> bos_id() const override {
    return has_bos_ ? std::optional<int32_t>(0) : std::nullopt;
  }
  std::optional<int32_t> eos_id() const override {
    return static_cast<int32_t>(pieces_.size()) - 1;
  }
  std::string kind() const override { return "pieces"; }
  const std::string& model() const override { return model_; }

 private:
  std::vector<std::string> pieces_;
  bool has_bos_;
  std::string model_;
};

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_REQUESTS_PIECE_TOKENIZER_H_
