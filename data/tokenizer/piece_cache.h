// Ids of short pieces of text that were seen before.
#ifndef WYVERN_DATA_TOKENIZER_PIECE_CACHE_H_
#define WYVERN_DATA_TOKENIZER_PIECE_CACHE_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

// A table of one cache line an entry, in which a new piece takes the place of an old one. For one
// thread.
class PieceCache {
 public:
  static constexpr size_t kMaxBytes = 31;  // of a piece
  static constexpr size_t kMaxIds = 7;

  struct Key {
    std::array<uint64_t, 4> words;  // the piece, zeros, and its length in the last byte
    size_t slot;
  };

  PieceCache() : entries_(kEntries) {}

  // `readable`: the bytes from the piece's first one that may be read. 0 < piece.size() <=
  // kMaxBytes.
  static Key KeyOf(absl::string_view piece, size_t readable) {
    Key key;
    if (readable >= 32) {
      std::memcpy(key.words.data(), piece.data(), 32);
      size_t kept = piece.size();
      for (uint64_t& word : key.words) {
        const size_t bytes = std::min<size_t>(kept, 8);
        if (bytes < 8) word &= (uint64_t{1} << (8 * bytes)) - 1;
        kept -= bytes;
      }
    } else {
      key.words = {};
      std::memcpy(key.words.data(), piece.data(), piece.size());
    }
    key.words[3] |= static_cast<uint64_t>(piece.size()) << 56;
    uint64_t hash = Mix(key.words[0] ^ 0x9E3779B97F4A7C15, key.words[1] ^ 0xD1B54A32D192ED03);
    hash ^= Mix(key.words[2] ^ 0x8CB92BA72F3D8DD7, key.words[3] ^ 0xAAAAAAAAAAAAAAAB);
    key.slot = (hash * 0x9E3779B97F4A7C15) >> (64 - kLog2Entries);
    return key;
  }

  // Appends the piece's ids if they are known.
  bool Find(const Key& key, std::vector<int32_t>* ids) const {
    const Entry& entry = entries_[key.slot];
    if (entry.words != key.words) return false;
    const size_t old = ids->size();
    ids->resize(old + kMaxIds);
    std::memcpy(ids->data() + old, entry.ids.data(), sizeof(entry.ids));
    ids->resize(old + static_cast<size_t>(entry.count));
    return true;
  }

  void Insert(const Key& key, const int32_t* ids, size_t count) {
    if (count > kMaxIds) return;
    Entry& entry = entries_[key.slot];
    entry.words = key.words;
    entry.count = static_cast<int32_t>(count);
    std::copy_n(ids, count, entry.ids.begin());
  }

 private:
  struct alignas(64) Entry {
    std::array<uint64_t, 4> words = {};  // all zero: none, as a piece has a length
    std::array<int32_t, kMaxIds> ids = {};
    int32_t count = 0;
  };
  static constexpr int kLog2Entries = 16;
  static constexpr size_t kEntries = size_t{1} << kLog2Entries;  // 4 MiB

  static uint64_t Mix(uint64_t a, uint64_t b) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

  std::vector<Entry> entries_;
};

// A number for each tokenizer that keeps its pieces in caches.
uint64_t NewPieceCacheOwner();

// This thread's cache of a tokenizer. Those of the two that were used last are kept.
PieceCache& PieceCacheOf(uint64_t owner);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_PIECE_CACHE_H_
