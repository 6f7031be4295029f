#include "kernels/comm/rendezvous/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// A hello: magic, version, role, whether there is a token, random bytes, zeros. Magic and version
// stay where they are in every version. The length is that of the message that ranks of Wyvern 0.1
// send first, so that these notice at once that something is wrong.
constexpr absl::string_view kMagic = "wyvern-r";
constexpr uint32_t kVersion = 2;
constexpr absl::string_view kMagicOfVersion1 = "rVyW";
constexpr size_t kVersionAt = 8, kRoleAt = 12, kTokenAt = 13, kNonceAt = 16;
constexpr size_t kNonceBytes = 32, kHelloBytes = 80;

constexpr size_t kMacBytes = 32, kLengthBytes = sizeof(uint32_t);
// The limits of a frame's content. A listener reads what others say of themselves, a connector what
// rank 0 says of all ranks.
constexpr size_t kMaxBytes = 4 << 10, kMaxListBytes = 64 << 20;

std::string Bytes(const void* value, size_t num_bytes) {
  return std::string(static_cast<const char*>(value), num_bytes);
}

uint32_t NumberAt(absl::string_view text, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, text.data() + at, sizeof(value));
  return value;
}

std::string MacOf(const std::string& key, uint64_t number, absl::string_view content) {
  return HmacSha256(key, absl::StrCat(Bytes(&number, sizeof(number)), content));
}

}  // namespace

std::string HmacSha256(absl::string_view key, absl::string_view text) {
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  const void* made =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &length);
  CHECK(made != nullptr && length == kMacBytes, "HMAC-SHA-256 failed");
  return Bytes(mac, kMacBytes);
}

std::string RandomBytes(size_t num_bytes) {
  std::string bytes(num_bytes, '\0');
  const int made =
      RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(num_bytes));
  CHECK(made == 1, "the system gives no random numbers");
  return bytes;
}

bool SameBytes(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Handshake::Handshake(Role role, std::string token, int listener_rank)
    : role_(role), token_(std::move(token)), listener_rank_(listener_rank), hello_(Hello()) {
  if (role_ == Role::kConnector) output_ = hello_;
}

std::string Handshake::Hello() const {
  std::string hello(kHelloBytes, '\0');
  hello.replace(0, kMagic.size(), kMagic.data(), kMagic.size());
  std::memcpy(&hello[kVersionAt], &kVersion, sizeof(kVersion));
  hello[kRoleAt] = role_ == Role::kConnector ? 'c' : 'l';
  hello[kTokenAt] = token_.empty() ? 0 : 1;
  hello.replace(kNonceAt, kNonceBytes, RandomBytes(kNonceBytes));
  return hello;
}

size_t Handshake::Wanted() const {
  if (!greeted_) return kHelloBytes - input_.size();
  if (input_.size() < kLengthBytes) return kLengthBytes - input_.size();
  return kLengthBytes + NumberAt(input_, 0) + kMacBytes - input_.size();
}

absl::Status Handshake::Receive(absl::string_view bytes) {
  CHECK(bytes.size() <= Wanted(), "more than was asked for");
  absl::StrAppend(&input_, bytes);
  if (!greeted_) {
    if (absl::StartsWith(input_, kMagicOfVersion1)) {
      return absl::FailedPreconditionError("it is of an older Wyvern; all ranks must be of one");
    }
    // The first wrong byte is enough.
    if (!absl::StartsWith(kMagic, input_.substr(0, kMagic.size()))) {
      return absl::InvalidArgumentError("it is something else than a rank of Wyvern");
    }
    return Wanted() > 0 ? absl::OkStatus() : ReadHello();
  }
  if (input_.size() == kLengthBytes) {
    const size_t limit = role_ == Role::kConnector && proven_ ? kMaxListBytes : kMaxBytes;
    if (NumberAt(input_, 0) > limit) {
      return absl::InvalidArgumentError(
          absl::StrCat("it announces a message of ", NumberAt(input_, 0), " bytes"));
    }
  }
  return Wanted() > 0 ? absl::OkStatus() : ReadFrame();
}

absl::Status Handshake::ReadHello() {
  const std::string other = std::exchange(input_, "");
  greeted_ = true;
  const bool listens = role_ == Role::kListener;
  if (other[kRoleAt] != (listens ? 'c' : 'l')) {
    return absl::InvalidArgumentError("it sends back what it gets");
  }
  if (listens) output_ = hello_;
  if (NumberAt(other, kVersionAt) != kVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "it is of another Wyvern, whose ranks meet by version ", NumberAt(other, kVersionAt),
        ", here ", kVersion, "; all ranks must be of one"));
  }
  if ((other[kTokenAt] != 0) != !token_.empty()) {
    return absl::PermissionDeniedError(token_.empty()
                                           ? "it has a WYVERN_RUN_TOKEN, this process has none"
                                           : "it has no WYVERN_RUN_TOKEN, this process has one");
  }
  const int32_t rank = listener_rank_;
  const std::string both = listens ? other + hello_ : hello_ + other;
  const auto key = [&](absl::string_view direction) {
    return HmacSha256(token_.empty() ? "no token" : token_,
                      absl::StrCat(direction, both, Bytes(&rank, sizeof(rank))));
  };
  send_key_ = key(listens ? "from listener" : "from connector");
  receive_key_ = key(listens ? "from connector" : "from listener");
  if (listens) AppendFrame("");
  return absl::OkStatus();
}

absl::Status Handshake::ReadFrame() {
  const std::string input = std::exchange(input_, "");
  const absl::string_view content(input.data() + kLengthBytes,
                                  input.size() - kLengthBytes - kMacBytes);
  const std::string mac = MacOf(receive_key_, num_received_++, content);
  if (!SameBytes(mac, absl::string_view(input).substr(input.size() - kMacBytes))) {
    // The listener learns from a wrong MAC that it was no port scan.
    if (role_ == Role::kConnector && !proven_) AppendFrame("");
    return absl::PermissionDeniedError("it has another WYVERN_RUN_TOKEN, so it is of another run");
  }
  const bool proof = role_ == Role::kConnector && !proven_;
  proven_ = true;
  if (!proof) frame_ = std::string(content);
  return absl::OkStatus();
}

std::optional<std::string> Handshake::TakeFrame() { return std::exchange(frame_, std::nullopt); }

void Handshake::Send(absl::string_view content) {
  CHECK(proven_, "nothing is told before the other end has proven itself");
  AppendFrame(content);
}

void Handshake::AppendFrame(absl::string_view content) {
  const auto length = static_cast<uint32_t>(content.size());
  absl::StrAppend(&output_, Bytes(&length, sizeof(length)), content,
                  MacOf(send_key_, num_sent_++, content));
}

std::string Handshake::TakeOutput() { return std::exchange(output_, ""); }

}  // namespace wyvern
