// Ranks that are threads of this process, over TCP.
#ifndef WYVERN_TESTS_SUPPORT_ON_RANKS_H_
#define WYVERN_TESTS_SUPPORT_ON_RANKS_H_

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "kernels/comm/rendezvous/rendezvous.h"
#include "kernels/comm/rendezvous/socket.h"
#include "kernels/comm/world.h"

namespace wyvern {

// Calls `work` on `count` threads, each a rank of its own.
inline void OnRanks(int count, const std::function<void(World*)>& work) {
  if (count == 1) {
    work(World::Single().get());
    return;
  }
  const int port = Socket::Listen(0)->LocalPort();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < count; ++rank) {
    threads.emplace_back([&, rank] {
      auto transport =
          MakeTcpTransport({.rank = rank, .size = count, .address = "127.0.0.1", .port = port});
      ASSERT_TRUE(transport.ok()) << transport.status();
      World world(*std::move(transport));
      work(&world);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_SUPPORT_ON_RANKS_H_
