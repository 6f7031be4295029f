// Whole files on disk: read, write without ever leaving half a file, and the checksum used by the
// token store and the checkpoints.
#ifndef WYVERN_DATA_IO_FILE_H_
#define WYVERN_DATA_IO_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// "`action` `path`: what the system says; what to do". ENOENT gives NotFound, ENOSPC and EDQUOT
// ResourceExhausted, EACCES and EPERM PermissionDenied, all others Unavailable.
absl::Status ErrnoStatus(int error, absl::string_view action, absl::string_view path);

// The file's bytes. Errors: missing, unreadable, a folder.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Replaces `path` by `content`: written under a temporary name in the same folder
// (data/io/output.h), synced, renamed, folder synced. On an error the old file stays as it was and
// no temporary file remains. Writers of one file come one after the other; the last one's content
// stays.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view content);

// The path from the root in its normal form, links as they are. An empty path, and any where the
// working folder is gone, stays relative.
std::string AbsolutePath(const std::string& path);

// fsync of a file or a folder.
absl::Status SyncPath(const std::string& path);

// Creates the folder and its parents; no error if it exists.
absl::Status MakeFolders(const std::string& path);

// CRC-32 of zlib (polynomial 0xEDB88320). Crc32(b, Crc32(a)) is the checksum of a followed by b.
uint32_t Crc32(const void* data, size_t num_bytes, uint32_t previous = 0);

// The same number, computed by up to four threads where there is much data.
uint32_t Crc32OnThreads(const void* data, size_t num_bytes);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_FILE_H_
