// A file that one process at a time has: the right to do what others must not do meanwhile.
#ifndef WYVERN_DATA_IO_LOCK_FILE_H_
#define WYVERN_DATA_IO_LOCK_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/io/file_descriptor.h"

namespace wyvern {

// Whether this error of flock says that the file system has no locks.
bool MeansNoLocks(int error);

// Held from Take until it is destroyed or the process ends, however that ends. The file names its
// holder, and goes with the lock; one that a killed process left is free. It is an flock, so it
// holds between hosts where the file system carries flock over (NFS, Lustre with -o flock).
//
// On a file system without locks (one warning says so) the holder is the one that made the link
// PATH.owner, whose target names it. A dead holder of the same host is replaced; of a holder on
// another host or in another container nobody can tell, so the error says what to delete.
class LockFile {
 public:
  // `path` lies in a folder that exists. Waits up to `wait_seconds` for another holder, be it a
  // thread of this process. Aborted: "`busy`: HOLDER; `advice`".
  static absl::StatusOr<LockFile> Take(const std::string& path, const std::string& busy,
                                       const std::string& advice, double wait_seconds = 0);
  LockFile(LockFile&& other) noexcept { *this = std::move(other); }
  LockFile& operator=(LockFile&& other) noexcept;
  ~LockFile();

  // Whether a process that lives, as far as can be told here, holds the lock `path` on a file
  // system without locks.
  static bool HasLiveOwnerLink(const std::string& path);

  // Removes the file; the lock itself is held until this is destroyed, but locks nobody out any
  // more.
  absl::Status Remove();
  // Locks `path`, a file or a folder, for as long as the result lives, so that IsGuarded(path) is
  // true. None where the file system does not lock it.
  static FileDescriptor Guard(const std::string& path);
  static bool IsGuarded(const std::string& path);

  // False if someone has removed the file, so that another process may hold it too.
  bool IsHeld() const;

 private:
  LockFile() = default;
  // Whether it was taken; if not, `holder` gets who has it, and what to do about that.
  absl::StatusOr<bool> Try(std::string* holder);
  absl::StatusOr<bool> TryOwnerLink(std::string* holder);
  static std::string OwnerPath(const std::string& path) { return path + ".owner"; }

  std::string path_;       // empty: not held
  FileDescriptor fd_;      // locked; none where the owner's link stands for it
  std::string self_text_;  // of the owner's link
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_LOCK_FILE_H_
