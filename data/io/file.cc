#include "data/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/io/file_descriptor.h"
#include "data/io/output.h"
#include "kernels/runtime/catch.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// For another writer of a small file.
constexpr double kWaitSeconds = 30;

}  // namespace

absl::Status ErrnoStatus(int error, absl::string_view action, absl::string_view path) {
  std::string message = absl::StrCat(action, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(
          absl::StrCat(message, "; free some space or write to another disk"));
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const Operation reading(absl::StrCat("reading ", path));
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, "cannot open", path);
  std::string content;
  struct stat info;
  if (fstat(fd.get(), &info) == 0 && S_ISREG(info.st_mode)) content.reserve(info.st_size);
  std::string buffer(size_t{1} << 18, '\0');
  while (true) {
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "cannot read", path);
    }
    if (got == 0) return content;
    content.append(buffer, 0, got);
  }
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content) {
  ASSIGN_OR_RETURN(Output output, Output::Claim(path, kWaitSeconds));
  return output.CommitFile(content);
}

absl::Status SyncPath(const std::string& path) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, "cannot open", path);
  while (fsync(fd.get()) != 0) {
    if (errno != EINTR) return ErrnoStatus(errno, "cannot sync", path);
  }
  return absl::OkStatus();
}

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::absolute(path, error);
  return (error ? std::filesystem::path(path) : whole).lexically_normal().string();
}

absl::Status MakeFolders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), "cannot create the folder", path);
  return absl::OkStatus();
}

uint32_t Crc32(const void* data, size_t num_bytes, uint32_t previous) {
  // zlib's length is 32 bits wide.
  const auto* bytes = static_cast<const Bytef*>(data);
  uLong crc = previous;
  while (num_bytes > 0) {
    const size_t step = std::min(num_bytes, size_t{1} << 30);
    crc = crc32(crc, bytes, static_cast<uInt>(step));
    bytes += step;
    num_bytes -= step;
  }
  return static_cast<uint32_t>(crc);
}

uint32_t Crc32OnThreads(const void* data, size_t num_bytes) {
  constexpr size_t kThreads = 4, kLeastBytes = size_t{4} << 20;
  const size_t count = std::clamp<size_t>(num_bytes / kLeastBytes, 1, kThreads);
  const auto* bytes = static_cast<const char*>(data);
  const auto begin = [&](size_t i) { return num_bytes / count * i; };
  const auto size = [&](size_t i) {
    return (i + 1 == count ? num_bytes : begin(i + 1)) - begin(i);
  };
  uint32_t crcs[kThreads];
  std::vector<std::thread> threads;
  threads.reserve(count);
  for (size_t i = 1; i < count; ++i) {
    const auto work = [&, i] { crcs[i] = Crc32(bytes + begin(i), size(i)); };
    threads.emplace_back();
    const absl::Status started = CatchAll([&] {
      threads.back() = std::thread(work);
      return absl::OkStatus();
    });
    if (!started.ok()) work();  // the system has no more threads
  }
  uLong crc = Crc32(bytes, size(0));
  for (size_t i = 1; i < count; ++i) {
    if (threads[i - 1].joinable()) threads[i - 1].join();
    crc = crc32_combine(crc, crcs[i], static_cast<z_off_t>(size(i)));
  }
  return static_cast<uint32_t>(crc);
}

}  // namespace wyvern
