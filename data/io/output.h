// How a file or a folder comes to be: under a temporary name beside it until it is whole, by one
// writer at a time.
#ifndef WYVERN_DATA_IO_OUTPUT_H_
#define WYVERN_DATA_IO_OUTPUT_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/io/lock_file.h"

namespace wyvern {

// The right to write one output, which other processes and threads have not meanwhile. Who reads
// the output that is there is not kept from it.
//
// Beside PATH lie, until Commit or the end of this, the lock .NAME.lock (data/io/lock_file.h) and
// what the writer makes under temporary(). What a killed writer left, of whatever command, goes
// with the next Claim.
class Output {
 public:
  // Removes what dead writers left. The folder that is to hold `path` must exist. With
  // `wait_seconds`, waits so long for another writer. Errors: another writer (Aborted; the message
  // names it), no right to write there, `path` is a device or the like.
  static absl::StatusOr<Output> Claim(const std::string& path, double wait_seconds = 0);
  Output(Output&& other) noexcept { *this = std::move(other); }
  Output& operator=(Output&& other) noexcept;
  // Removes what was not committed.
  ~Output();

  // PATH.tmp-<32 hexadecimal digits>: a name that nobody else uses, for the caller to create.
  const std::string& temporary() const { return temporary_; }
  const std::string& path() const { return path_; }

  // Gives what lies closed at temporary() the name `path`, in the place of a file or an empty
  // folder of that name, synced, and gives up the claim. (What a folder holds is the caller's to
  // sync.)
  absl::Status Commit();
  // The same in the place of whatever has the name, a folder with its content too.
  absl::Status CommitReplacing();
  // The same for a file of this content, which it writes.
  absl::Status CommitFile(absl::string_view content);

 private:
  Output() = default;
  absl::Status CommitBy(absl::Status (*rename)(const std::string& temporary,
                                               const std::string& path));

  std::string path_, temporary_;  // no slash at the end; temporary_ is empty once committed
  std::optional<LockFile> lock_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_OUTPUT_H_
