// Which process holds a lock: as a line of text in the lock's file, for the message to the one that
// comes second, and to judge whether the holder still lives where the system cannot tell.
#ifndef WYVERN_DATA_IO_LOCK_HOLDER_H_
#define WYVERN_DATA_IO_LOCK_HOLDER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

struct LockHolder {
  std::string host;
  std::string boot;           // id of the kernel's start: another one after each
  std::string pid_namespace;  // containers number their processes alike
  int64_t pid = 0;
  uint64_t start_ticks = 0;  // when the process began, since the machine did
  std::string since;         // UTC
  std::string command;       // may be cut; without control characters

  static LockHolder Self();
  // Reads what Text wrote; nullopt for anything else.
  static std::optional<LockHolder> Parse(absl::string_view text);
  std::string Text() const;
  // Whether `text` is empty or begins as a Text does: whoever wrote it may have been killed
  // meanwhile.
  static bool MayBeText(absl::string_view text);
  // "`wyvern train a.yaml`, process 4711 on node7, since 2026-01-31T12:00:00Z".
  std::string ToString() const;

  // kUnknown: of another machine or container, or of one before its restart.
  enum class Life { kAlive, kDead, kUnknown };
  Life life() const;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_LOCK_HOLDER_H_
