// How two ranks prove to each other that they are of one run, before either believes anything.
//
//   connector -> listener   hello: version, whether it has a token, 32 random bytes
//   listener -> connector   its hello; a frame without content
//   connector -> listener   a frame: the first content that anyone tells
//   ...                     frames in both directions
//
// A frame is the content with its length before it and its HMAC-SHA-256 behind it. The MAC covers
// the frame's number; its key is HMAC-SHA-256(token, direction, both hellos, listener's rank). So
// only a process that knows the token can make a frame, and none that was seen elsewhere fits:
// neither an older one, nor one of the other direction, nor one for another rank. Without a token
// the MACs show accidents only.
//
// Who can change packets on their way can take over a connection after all this: nothing is
// encrypted, and what the ranks send each other later carries no MAC.
#ifndef WYVERN_KERNELS_COMM_RENDEZVOUS_HANDSHAKE_H_
#define WYVERN_KERNELS_COMM_RENDEZVOUS_HANDSHAKE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// One end of a connection: bytes in, bytes out.
class Handshake {
 public:
  enum class Role { kConnector, kListener };
  // `listener_rank`: of the one that is to listen; the connector expects no other.
  Handshake(Role role, std::string token, int listener_rank);

  // How many bytes to receive at most: what comes behind the last frame is not this object's.
  size_t Wanted() const;
  // Takes up to Wanted() bytes. After an error there is nothing more to receive, but what is to be
  // sent tells the other end of it. Codes: InvalidArgument, something else than a rank;
  // FailedPrecondition, another version of Wyvern; PermissionDenied, another token or none.
  absl::Status Receive(absl::string_view bytes);
  // The content of a frame that has come, in order. The proof of the listener is not among them.
  std::optional<std::string> TakeFrame();

  // The other end knows the token.
  bool proven() const { return proven_; }
  // Only when proven.
  void Send(absl::string_view content);
  // Bytes to send since the last call.
  std::string TakeOutput();

 private:
  std::string Hello() const;
  absl::Status ReadHello();
  absl::Status ReadFrame();
  void AppendFrame(absl::string_view content);

  const Role role_;
  const std::string token_;
  const int listener_rank_;
  const std::string hello_;
  bool greeted_ = false, proven_ = false;
  std::string send_key_, receive_key_;
  uint64_t num_sent_ = 0, num_received_ = 0;
  std::string input_, output_;
  std::optional<std::string> frame_;
};

// HMAC-SHA-256, 32 bytes.
std::string HmacSha256(absl::string_view key, absl::string_view text);
// Bytes that nobody can predict.
std::string RandomBytes(size_t num_bytes);
// In a time that does not depend on where they differ.
bool SameBytes(absl::string_view a, absl::string_view b);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_RENDEZVOUS_HANDSHAKE_H_
