// How ranks meet while others come to their ports: threads of this process act as ranks and as
// strangers, over loopback.
#include "kernels/comm/rendezvous/rendezvous.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/comm/rendezvous/link.h"

namespace wyvern {
namespace {

using Sockets = absl::StatusOr<std::vector<Socket>>;

const char kToken[] = "a token of the run, 32 bytes long";

int FreePort() { return Socket::Listen(0)->LocalPort(); }

double SecondsOf(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void ExpectSays(const absl::Status& status, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_TRUE(absl::StrContains(std::string(status.message()), part))
        << "'" << part << "' is not in: " << status;
  }
}

// Ranks of one run, which begin to meet when they are started.
class RendezvousTest : public testing::Test {
 protected:
  TcpMeeting Meeting(int rank, int size) const {
    return {.rank = rank,
            .size = size,
            .address = "127.0.0.1",
            .port = port_,
            .token = kToken,
            .run = "'a' in runs/a",
            .folder = "/runs/a",
            .timeout_seconds = 20};
  }

  static std::future<Sockets> Start(const TcpMeeting& meeting) {
    return std::async(std::launch::async, [meeting] { return Meet(meeting); });
  }

  // A connection to the port as soon as someone listens there.
  Socket Come(const std::string& address = "127.0.0.1") const {
    const SocketAddress to = *SocketAddress::FromText(address, port_);
    for (;;) {
      auto socket = Socket::StartConnect(to);
      if (socket.ok()) {
        pollfd entry = {.fd = socket->fd(), .events = POLLOUT, .revents = 0};
        poll(&entry, 1, 1000);
        if (socket->ConnectError().ok() && socket->LocalPort() != port_) return *std::move(socket);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  // A connection that has begun to prove itself.
  std::unique_ptr<Link> Call(int port, int rank, const std::string& token = kToken) const {
    const SocketAddress to = *SocketAddress::FromText("127.0.0.1", port);
    return std::make_unique<Link>(*Socket::StartConnect(to), to,
                                  Handshake(Handshake::Role::kConnector, token, rank));
  }

  // The next that the other end says; the first word is empty where it ended instead.
  static Words Next(Link* link) {
    for (;;) {
      const auto words = link->Advance();
      if (!words.ok()) return {"", std::string(words.status().message())};
      if (words->has_value() && (**words)[0] != "waits") return **words;
      if (words->has_value()) continue;
      PollSet set;
      set.Add(*link);
      set.Wait(DeadlineIn(0.01));
    }
  }

  // Says who it is, once the other end has proven itself.
  static Words Introduce(Link* link, const Words& introduction) {
    while (!link->proven()) {
      const auto words = link->Advance();
      if (!words.ok()) return {"", std::string(words.status().message())};
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    link->Send(introduction);
    return Next(link);
  }

  static Words Rank(int rank, int size) {
    return {"rank",          absl::StrCat(rank), absl::StrCat(size),
            "'a' in runs/a", "/runs/a",          "elsewhere"};
  }

  static void ExpectMet(std::vector<std::future<Sockets>>* ranks) {
    std::vector<Sockets> all;
    for (auto& rank : *ranks) all.push_back(rank.get());
    for (size_t r = 0; r < ranks->size(); ++r) {
      const Sockets& sockets = all[r];
      ASSERT_TRUE(sockets.ok()) << "rank " << r << ": " << sockets.status();
      for (size_t p = 0; p < ranks->size(); ++p) EXPECT_EQ((*sockets)[p].fd() < 0, p == r);
    }
  }

  const int port_ = FreePort();
};

TEST_F(RendezvousTest, RanksMeetInWhateverOrderTheyCome) {
  for (const char* address : {"127.0.0.1", "localhost", "::1"}) {
    for (const bool first_last : {false, true}) {
      std::vector<std::future<Sockets>> ranks(4);
      for (int i = 0; i < 4; ++i) {
        const int rank = first_last ? 3 - i : i;
        TcpMeeting meeting = Meeting(rank, 4);
        meeting.address = address;
        ranks[static_cast<size_t>(rank)] = Start(meeting);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      ExpectMet(&ranks);
    }
  }
}

TEST_F(RendezvousTest, StrangersDelayNobody) {
  std::vector<std::future<Sockets>> ranks;
  ranks.push_back(Start(Meeting(0, 3)));
  std::vector<Socket> silent;
  for (int i = 0; i < 200; ++i) silent.push_back(Come());  // more than are kept
  const std::string words = "GET / HTTP/1.1\r\n\r\n";
  const Socket babbling = Come();
  send(babbling.fd(), words.data(), words.size(), MSG_NOSIGNAL);
  // A hello, byte by byte.
  const std::string hello = Handshake(Handshake::Role::kConnector, kToken, 0).TakeOutput();
  const Socket slow = Come();
  std::atomic<bool> done{false};
  std::thread drips([&] {
    for (size_t i = 0; i < hello.size() && !done; ++i) {
      send(slow.fd(), &hello[i], 1, MSG_NOSIGNAL);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  const double seconds = SecondsOf([&] {
    ranks.push_back(Start(Meeting(1, 3)));
    ranks.push_back(Start(Meeting(2, 3)));
    ExpectMet(&ranks);
  });
  done = true;
  drips.join();
  EXPECT_LT(seconds, 4);  // less than a stranger's time
}

TEST_F(RendezvousTest, WhoDoesNotKnowTheTokenIsToldNothingAndTurnedAway) {
  std::vector<std::future<Sockets>> ranks;
  ranks.push_back(Start(Meeting(0, 2)));
  Come();
  for (const std::string& token : {std::string(), std::string("another token of many bytes")}) {
    TcpMeeting stranger = Meeting(1, 2);
    stranger.token = token;
    const Sockets sockets = Meet(stranger);
    EXPECT_EQ(sockets.status().code(), absl::StatusCode::kFailedPrecondition);
    ExpectSays(sockets.status(), {"cannot join rank 0 at 127.0.0.1", "WYVERN_RUN_TOKEN"});
    EXPECT_FALSE(absl::StrContains(std::string(sockets.status().message()), "runs/a"));
  }
  ranks.push_back(Start(Meeting(1, 2)));
  ExpectMet(&ranks);
}

TEST_F(RendezvousTest, ARunOfAnotherFolderIsRefusedByName) {
  std::vector<std::future<Sockets>> ranks;
  ranks.push_back(Start(Meeting(0, 2)));
  Come();
  TcpMeeting other = Meeting(1, 2);
  other.run = "'b' in runs/b";
  ExpectSays(Meet(other).status(), {"turned this process away", "'b' in runs/b", "'a' in runs/a"});
  // The same words, but another folder of this host.
  other = Meeting(1, 2);
  other.folder = "/home/b/runs/a";
  ExpectSays(Meet(other).status(), {"/home/b/runs/a", "folder /runs/a"});
  other = Meeting(1, 3);
  ExpectSays(Meet(other).status(), {"believes that there are 3 ranks", "WORLD_SIZE"});
  ranks.push_back(Start(Meeting(1, 2)));
  ExpectMet(&ranks);
}

TEST_F(RendezvousTest, APortThatIsTakenIsNamedWithWhoHasIt) {
  std::vector<std::future<Sockets>> ranks;
  ranks.push_back(Start(Meeting(0, 2)));
  Come();
  TcpMeeting other = Meeting(0, 2);
  other.run = "'b' in runs/b";
  ExpectSays(Meet(other).status(), {absl::StrCat("MASTER_PORT ", port_, " is in use"),
                                    "belongs to the run 'b' in runs/b", "'a' in runs/a"});
  ranks.push_back(Start(Meeting(1, 2)));
  ExpectMet(&ranks);
}

TEST_F(RendezvousTest, OnlyRanksThatAreMissingComeIn) {
  std::vector<std::future<Sockets>> ranks;
  ranks.push_back(Start(Meeting(0, 3)));
  Come();
  {
    const auto here = Call(port_, 0), another = Call(port_, 0);
    EXPECT_EQ(Introduce(here.get(), Rank(1, 3))[0], "accepted");
    const Words answer = Introduce(another.get(), Rank(1, 3));
    ASSERT_EQ(answer[0], "refused");
    EXPECT_TRUE(absl::StrContains(answer[1], "rank 1 is here already")) << answer[1];
    EXPECT_TRUE(here->Advance().ok());  // it still is
  }
  for (const int rank : {-1, 0, 3, 4}) {
    const auto link = Call(port_, 0);
    const Words answer = Introduce(link.get(), Rank(rank, 3));
    ASSERT_EQ(answer[0], "refused");
    EXPECT_TRUE(absl::StrContains(answer[1], absl::StrCat("waits for no rank ", rank)))
        << answer[1];
  }
  ranks.push_back(Start(Meeting(1, 3)));
  ranks.push_back(Start(Meeting(2, 3)));
  ExpectMet(&ranks);
}

// Rank 2, done by hand, knows where rank 1 listens.
TEST_F(RendezvousTest, ALiveConnectionIsNeverReplaced) {
  std::vector<std::future<Sockets>> ranks;
  ranks.push_back(Start(Meeting(0, 3)));
  Come();
  ranks.push_back(Start(Meeting(1, 3)));
  const auto first = Call(port_, 0);
  ASSERT_EQ(Introduce(first.get(), Rank(2, 3))[0], "accepted");
  ASSERT_EQ(Next(first.get()), (Words{"plan", "127.0.0.1", "127.0.0.1"}));
  first->Send({"port", "0"});
  const Words ports = Next(first.get());
  ASSERT_EQ(ports.size(), 3u);
  const int port = std::stoi(ports[1]);
  for (const int rank : {0, 1, 3}) {
    const auto link = Call(port, 1);
    EXPECT_EQ(Introduce(link.get(), Rank(rank, 3))[0], "refused") << rank;
  }
  const auto second = Call(port, 1);
  EXPECT_EQ(Introduce(second.get(), Rank(2, 3))[0], "accepted");
  const Sockets one = ranks[1].get();
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ((*one)[2].PeerAddress().port(), second->socket().LocalPort());
  EXPECT_TRUE(ranks[0].get().ok());
  // The ports are closed.
  for (const int closed : {port, port_}) {
    const auto link = Call(closed, 0);
    const Words answer = Next(link.get());
    EXPECT_EQ(answer[0], "") << "someone listens at " << closed;
  }
}

TEST_F(RendezvousTest, ARankThatDiesHalfWayGivesItsPlaceFree) {
  std::vector<std::future<Sockets>> ranks;
  ranks.push_back(Start(Meeting(0, 3)));
  Come();
  for (int i = 0; i < 3; ++i) {
    const auto link = Call(port_, 0);
    EXPECT_EQ(Introduce(link.get(), Rank(1, 3))[0], "accepted");
  }
  ranks.push_back(Start(Meeting(1, 3)));
  ranks.push_back(Start(Meeting(2, 3)));
  ExpectMet(&ranks);
}

TEST_F(RendezvousTest, ARankThatDiesAfterAllCameIsNamed) {
  std::vector<std::future<Sockets>> ranks;
  ranks.push_back(Start(Meeting(0, 3)));
  Come();
  ranks.push_back(Start(Meeting(1, 3)));
  {
    const auto link = Call(port_, 0);
    ASSERT_EQ(Introduce(link.get(), Rank(2, 3))[0], "accepted");
    ASSERT_EQ(Next(link.get())[0], "plan");
  }
  ExpectSays(ranks[0].get().status(), {"rank 2 ended as the ranks met"});
  ExpectSays(ranks[1].get().status(), {"gave up: rank 2 ended"});
}

TEST_F(RendezvousTest, MissingRanksAreNamedAfterTheTimeout) {
  TcpMeeting first = Meeting(0, 4), second = Meeting(2, 4);
  first.timeout_seconds = 0.3;
  std::vector<std::future<Sockets>> ranks;
  ranks.push_back(Start(first));
  ranks.push_back(Start(second));
  ExpectSays(ranks[0].get().status(),
             {"only 2 of 4 ranks are at 127.0.0.1, port", "after 0.3 s; missing: ranks 1, 3"});
  ExpectSays(ranks[1].get().status(), {"gave up: only 2 of 4 ranks", "missing: ranks 1, 3"});
  first.timeout_seconds = 0.4;
  second.timeout_seconds = 0.1;
  ranks[0] = Start(first);
  ExpectSays(Meet(second).status(), {"still waits for ranks 1, 3 after 0.1 s"});
  ExpectSays(ranks[0].get().status(), {"missing: ranks 1, 3; came and left: rank 2"});
  ExpectSays(Meet(second).status(), {"no way to rank 0 at 127.0.0.1:", "Connection refused",
                                     "within 0.1 s", "this host itself"});
}

TEST_F(RendezvousTest, ForWhomARankWaitsIsSaidInTime) {
  testing::internal::CaptureStderr();
  TcpMeeting first = Meeting(0, 3), second = Meeting(1, 3);
  first.timeout_seconds = second.timeout_seconds = 0.6;
  first.notice_seconds = second.notice_seconds = 0.2;
  auto zero = Start(first), one = Start(second);
  zero.wait();
  one.wait();
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(absl::StrContains(said, "waits for rank 2 to come to 127.0.0.1")) << said;
  EXPECT_TRUE(absl::StrContains(said, "which waits for rank 2 (0 s of 0.6 s)")) << said;
}

TEST_F(RendezvousTest, AnAddressIsTheOnlyOneThatIsListenedAt) {
  auto zero = Start(Meeting(0, 2));
  Come();
  const auto other = Socket::StartConnect(*SocketAddress::FromText("127.0.0.2", port_));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(!other.ok() || !other->ConnectError().ok());
  auto one = Start(Meeting(1, 2));
  EXPECT_TRUE(zero.get().ok() && one.get().ok());
}

TEST(SocketAddress, Texts) {
  const auto text = [](const std::string& host) {
    const auto address = SocketAddress::FromText(host, 7);
    return address.has_value() ? address->Text() : "";
  };
  EXPECT_EQ(text("10.0.0.1"), "10.0.0.1:7");
  EXPECT_EQ(text("::1"), "[::1]:7");
  EXPECT_EQ(text("[fd00::2]"), "[fd00::2]:7");
  EXPECT_EQ(text("fe80::1%lo"), "[fe80::1%lo]:7");
  EXPECT_EQ(text("::ffff:10.0.0.1"), "10.0.0.1:7");
  EXPECT_EQ(text("node1"), "");
  EXPECT_EQ(text("10.0.0.256"), "");
  for (const char* own : {"127.0.0.1", "127.0.1.1", "::1"}) {
    EXPECT_TRUE(SocketAddress::FromText(own, 7)->IsLoopback()) << own;
  }
  for (const char* other : {"10.0.0.1", "128.0.0.1", "fe80::1%lo", "0.0.0.0", "::"}) {
    EXPECT_FALSE(SocketAddress::FromText(other, 7)->IsLoopback()) << other;
  }
  EXPECT_TRUE(SocketAddress::FromText("0.0.0.0", 7)->IsUnspecified());
  EXPECT_TRUE(SocketAddress::FromText("::", 7)->IsUnspecified());
  EXPECT_TRUE(SocketAddress::FromText("fe80::1%lo", 7)->IsLinkLocal());
}

}  // namespace
}  // namespace wyvern
