#ifndef WYVERN_KERNELS_RUNTIME_ARENA_H_
#define WYVERN_KERNELS_RUNTIME_ARENA_H_

#include <memory>

#include "kernels/runtime/device.h"

namespace wyvern {

// Memory that is given out again and again, for work that is recorded once and launched many times
// (kernels/runtime/graph.h): every launch finds it at the same addresses. A block that is freed
// serves the next request of its size. Blocks in use outlive the arena. Free ones are not counted
// in MemoryStats.
class Arena {
 public:
  explicit Arena(Device device);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // While one lives, buffers that its thread makes on the arena's device have memory of the arena.
  class Scope {
   public:
    explicit Scope(Arena* arena);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena* before_;
  };

  struct Blocks;  // of kernels/runtime/allocator.cc
  const std::shared_ptr<Blocks>& blocks() const { return blocks_; }

 private:
  std::shared_ptr<Blocks> blocks_;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_ARENA_H_
