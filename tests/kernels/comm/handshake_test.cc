// Tests what two ends of a connection believe of each other, byte by byte and without a network.
#include "kernels/comm/rendezvous/handshake.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"

namespace wyvern {
namespace {

const char kToken[] = "0123456789abcdef0123456789abcdef";

// RFC 4231, cases 1, 2 and 6.
TEST(Handshake, TheMacIsHmacSha256) {
  const auto hex = [](const std::string& key, const std::string& text) {
    return absl::BytesToHexString(HmacSha256(key, text));
  };
  EXPECT_EQ(hex(std::string(20, '\x0b'), "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

// Hands over what `from` says, as a socket would, in pieces of `piece` bytes.
absl::Status Carry(Handshake* from, Handshake* to, size_t piece = 1000,
                   std::string* seen = nullptr) {
  std::string bytes = from->TakeOutput();
  if (seen != nullptr) *seen = bytes;
  while (!bytes.empty()) {
    const size_t n = std::min({piece, bytes.size(), to->Wanted()});
    const absl::Status status = to->Receive(bytes.substr(0, n));
    if (!status.ok()) return status;
    bytes.erase(0, n);
  }
  return absl::OkStatus();
}

struct Pair {
  explicit Pair(const std::string& connector_token = kToken,
                const std::string& listener_token = kToken, int expected = 0, int listener_rank = 0)
      : connector(Handshake::Role::kConnector, connector_token, expected),
        listener(Handshake::Role::kListener, listener_token, listener_rank) {}
  Handshake connector, listener;
};

TEST(Handshake, BothEndsAreProvenBeforeAnythingIsTold) {
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{1000}}) {
    for (const std::string& token : {std::string(kToken), std::string()}) {
      Pair pair(token, token);
      ASSERT_TRUE(Carry(&pair.connector, &pair.listener, piece).ok());
      EXPECT_FALSE(pair.connector.proven() || pair.listener.proven());
      ASSERT_TRUE(Carry(&pair.listener, &pair.connector, piece).ok());
      EXPECT_TRUE(pair.connector.proven());
      EXPECT_FALSE(pair.listener.proven());
      EXPECT_FALSE(pair.connector.TakeFrame().has_value());
      pair.connector.Send("rank 1");
      ASSERT_TRUE(Carry(&pair.connector, &pair.listener, piece).ok());
      EXPECT_TRUE(pair.listener.proven());
      EXPECT_EQ(pair.listener.TakeFrame(), "rank 1");
      pair.listener.Send("");
      ASSERT_TRUE(Carry(&pair.listener, &pair.connector, piece).ok());
      EXPECT_EQ(pair.connector.TakeFrame(), "");
    }
  }
}

TEST(Handshake, AnotherTokenIsNoticedByBoth) {
  Pair pair(kToken, "another token of 32 bytes, or so");
  ASSERT_TRUE(Carry(&pair.connector, &pair.listener).ok());
  std::string told;
  const absl::Status connector = Carry(&pair.listener, &pair.connector, 1000, &told);
  EXPECT_EQ(connector.code(), absl::StatusCode::kPermissionDenied) << connector;
  EXPECT_FALSE(pair.connector.proven());
  const absl::Status listener = Carry(&pair.connector, &pair.listener);
  EXPECT_EQ(listener.code(), absl::StatusCode::kPermissionDenied) << listener;
  EXPECT_FALSE(pair.listener.proven());
  EXPECT_EQ(told.find(kToken), std::string::npos);
}

TEST(Handshake, ATokenOnOneSideAloneIsNamed) {
  for (const bool connector_has : {false, true}) {
    Pair pair(connector_has ? kToken : "", connector_has ? "" : kToken);
    const absl::Status listener = Carry(&pair.connector, &pair.listener);
    EXPECT_EQ(listener, absl::PermissionDeniedError(
                            connector_has ? "it has a WYVERN_RUN_TOKEN, this process has none"
                                          : "it has no WYVERN_RUN_TOKEN, this process has one"));
    const absl::Status connector = Carry(&pair.listener, &pair.connector);
    EXPECT_EQ(connector, absl::PermissionDeniedError(
                             connector_has ? "it has no WYVERN_RUN_TOKEN, this process has one"
                                           : "it has a WYVERN_RUN_TOKEN, this process has none"));
  }
}

TEST(Handshake, WhatWasSeenBeforeProvesNothing) {
  // A listener's and a connector's words of another meeting with the same token.
  Pair old;
  std::string hello, answer, introduction;
  ASSERT_TRUE(Carry(&old.connector, &old.listener, 1000, &hello).ok());
  ASSERT_TRUE(Carry(&old.listener, &old.connector, 1000, &answer).ok());
  old.connector.Send("rank 1");
  ASSERT_TRUE(Carry(&old.connector, &old.listener, 1000, &introduction).ok());

  Handshake listener(Handshake::Role::kListener, kToken, 0);
  ASSERT_TRUE(listener.Receive(hello).ok());
  listener.TakeOutput();
  const auto receive = [](Handshake* to, std::string bytes) {
    while (!bytes.empty()) {
      const size_t n = std::min(bytes.size(), to->Wanted());
      const absl::Status status = to->Receive(bytes.substr(0, n));
      if (!status.ok()) return status;
      bytes.erase(0, n);
    }
    return absl::OkStatus();
  };
  EXPECT_EQ(receive(&listener, introduction).code(), absl::StatusCode::kPermissionDenied);
  Handshake connector(Handshake::Role::kConnector, kToken, 0);
  connector.TakeOutput();
  EXPECT_EQ(receive(&connector, answer).code(), absl::StatusCode::kPermissionDenied);
}

TEST(Handshake, AnEndIsNotProvenByItsOwnWords) {
  Handshake connector(Handshake::Role::kConnector, kToken, 0);
  const absl::Status echo = connector.Receive(connector.TakeOutput());
  EXPECT_EQ(echo, absl::InvalidArgumentError("it sends back what it gets"));

  // A listener's own proof, returned as the connector's.
  Handshake listener(Handshake::Role::kListener, kToken, 0);
  ASSERT_TRUE(
      listener.Receive(Handshake(Handshake::Role::kConnector, kToken, 0).TakeOutput()).ok());
  const std::string answer = listener.TakeOutput();
  const std::string proof = answer.substr(80);
  ASSERT_EQ(proof.size(), 36u);
  ASSERT_TRUE(listener.Receive(proof.substr(0, 4)).ok());
  EXPECT_EQ(listener.Receive(proof.substr(4)).code(), absl::StatusCode::kPermissionDenied);
}

TEST(Handshake, AListenerOfAnotherRankIsNotTheOneThatWasCalled) {
  Pair pair(kToken, kToken, /*expected=*/1, /*listener_rank=*/2);
  ASSERT_TRUE(Carry(&pair.connector, &pair.listener).ok());
  EXPECT_EQ(Carry(&pair.listener, &pair.connector).code(), absl::StatusCode::kPermissionDenied);
}

TEST(Handshake, AChangedFrameIsNoticed) {
  Pair pair;
  ASSERT_TRUE(Carry(&pair.connector, &pair.listener).ok());
  ASSERT_TRUE(Carry(&pair.listener, &pair.connector).ok());
  pair.connector.Send("rank 1");
  std::string bytes = pair.connector.TakeOutput();
  bytes[9] = '2';
  ASSERT_TRUE(pair.listener.Receive(bytes.substr(0, 4)).ok());
  EXPECT_EQ(pair.listener.Receive(bytes.substr(4)).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_FALSE(pair.listener.TakeFrame().has_value());
}

TEST(Handshake, WhatIsNoRankIsNamedAtItsFirstWrongByte) {
  const auto heard = [](const std::string& bytes) {
    return std::string(Handshake(Handshake::Role::kListener, kToken, 0).Receive(bytes).message());
  };
  EXPECT_EQ(heard("G"), "it is something else than a rank of Wyvern");
  EXPECT_EQ(heard("wyvern-x"), "it is something else than a rank of Wyvern");
  // The first message of ranks before they proved anything.
  EXPECT_EQ(heard(std::string("rVyW\1\0\0\0\2\0\0\0", 12)),
            "it is of an older Wyvern; all ranks must be of one");
  std::string newer = Handshake(Handshake::Role::kConnector, kToken, 0).TakeOutput();
  newer[8] = 3;
  EXPECT_EQ(heard(newer),
            "it is of another Wyvern, whose ranks meet by version 3, here 2; all ranks must be of "
            "one");
}

TEST(Handshake, AHugeMessageIsRefusedBeforeItIsTaken) {
  Pair pair;
  ASSERT_TRUE(Carry(&pair.connector, &pair.listener).ok());
  const absl::Status status = pair.listener.Receive(std::string("\xff\xff\xff\xff", 4));
  EXPECT_EQ(status, absl::InvalidArgumentError("it announces a message of 4294967295 bytes"));
}

}  // namespace
}  // namespace wyvern
