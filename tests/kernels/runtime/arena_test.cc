#include "kernels/runtime/arena.h"

#include <gtest/gtest.h>

#include <optional>

#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

TEST(Arena, AFreedBlockServesTheNextRequestOfItsSize) {
  Arena arena(Device::kCpu);
  const Arena::Scope scope(&arena);
  void *first, *second;
  {
    const Buffer a(Device::kCpu, 100), b(Device::kCpu, 100);
    EXPECT_NE(a.data(), b.data());
    first = a.data();
    second = b.data();
  }
  const Buffer c(Device::kCpu, 100), d(Device::kCpu, 200), e(Device::kCpu, 100);
  EXPECT_TRUE((c.data() == first && e.data() == second) ||
              (c.data() == second && e.data() == first));
  EXPECT_NE(d.data(), first);
  EXPECT_NE(d.data(), second);
}

TEST(Arena, ABufferMayOutliveItAndItsScope) {
  const int64_t before = GetMemoryStats(Device::kCpu).current_bytes;
  std::optional<Arena> arena(Device::kCpu);
  Buffer longer;
  {
    const Arena::Scope scope(&*arena);
    longer = Buffer(Device::kCpu, 4096);
    const Buffer of_another_device(Device::kMeta, 4096);
  }
  arena.reset();
  *longer.as<char>() = 1;
  EXPECT_EQ(GetMemoryStats(Device::kCpu).current_bytes, before + 4096);
  longer = Buffer();
  EXPECT_EQ(GetMemoryStats(Device::kCpu).current_bytes, before);
}

TEST(Arena, AScopeInsideAnotherEnds) {
  Arena outer(Device::kCpu), other(Device::kCpu);
  const Arena::Scope scope(&outer);
  void* address;
  {
    const Buffer a(Device::kCpu, 64);
    address = a.data();
  }
  {
    const Arena::Scope inner(&other);
    const Buffer b(Device::kCpu, 64);
    EXPECT_NE(b.data(), address);
  }
  const Buffer c(Device::kCpu, 64);
  EXPECT_EQ(c.data(), address);
}

}  // namespace
}  // namespace wyvern
