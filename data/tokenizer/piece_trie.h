// Pieces of text by their bytes: edges in a table with open addressing.
#ifndef WYVERN_DATA_TOKENIZER_PIECE_TRIE_H_
#define WYVERN_DATA_TOKENIZER_PIECE_TRIE_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/strings/string_view.h"
#include "data/tokenizer/token_model.h"

namespace wyvern {

class PieceTrie {
 public:
  explicit PieceTrie(const Vocabulary& vocabulary) : tokens_{-1} {
    size_t bytes = 1;
    for (int32_t id = 0; id < vocabulary.end_id(); ++id) {
      if (vocabulary.Token(id) != nullptr) bytes += vocabulary.Token(id)->size();
    }
    size_t size = 2;
    for (; size < 2 * bytes; size *= 2) --shift_;
    edges_.resize(size);
    for (int32_t id = 0; id < vocabulary.end_id(); ++id) {
      if (vocabulary.Token(id) != nullptr) Add(*vocabulary.Token(id), id);
    }
  }

  // The node that the byte leads to, or -1. The root is 0.
  int32_t Next(int32_t node, char byte) const {
    const Edge& edge = edges_[Place(KeyOf(node, byte))];
    return edge.key == kEmpty ? -1 : edge.child;
  }
  // The token that ends at the node, or -1.
  int32_t TokenAt(int32_t node) const { return tokens_[static_cast<size_t>(node)]; }

 private:
  static constexpr uint64_t kEmpty = std::numeric_limits<uint64_t>::max();
  struct Edge {
    uint64_t key = kEmpty;
    int32_t child = 0;
  };

  static uint64_t KeyOf(int32_t node, char byte) {
    return static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
  }
  size_t Place(uint64_t key) const {
    size_t place = (key * 0x9E3779B97F4A7C15) >> shift_;
    while (edges_[place].key != key && edges_[place].key != kEmpty) {
      place = (place + 1) & (edges_.size() - 1);
    }
    return place;
  }
  void Add(absl::string_view token, int32_t id) {
    if (token.empty()) return;
    int32_t node = 0;
    for (const char byte : token) {
      Edge& edge = edges_[Place(KeyOf(node, byte))];
      if (edge.key == kEmpty) {
        edge = {KeyOf(node, byte), static_cast<int32_t>(tokens_.size())};
        tokens_.push_back(-1);
      }
      node = edge.child;
    }
    tokens_[static_cast<size_t>(node)] = id;
  }

  std::vector<Edge> edges_;
  int shift_ = 63;
  std::vector<int32_t> tokens_;  // by node
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_PIECE_TRIE_H_
