#include "data/tokenizer/piece_cache.h"

#include <atomic>
#include <memory>
#include <utility>

namespace wyvern {

uint64_t NewPieceCacheOwner() {
  static std::atomic<uint64_t> next{1};
  return next++;
}

PieceCache& PieceCacheOf(uint64_t owner) {
  struct Owned {
    uint64_t owner = 0;
    std::unique_ptr<PieceCache> cache;
  };
  thread_local std::array<Owned, 2> caches;
  if (caches[0].owner != owner) {
    std::swap(caches[0], caches[1]);
    if (caches[0].owner != owner) caches[0] = {owner, std::make_unique<PieceCache>()};
  }
  return *caches[0].cache;
}

}  // namespace wyvern
