#ifndef WYVERN_DATA_IO_FILE_DESCRIPTOR_H_
#define WYVERN_DATA_IO_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace wyvern {

// Closes an open file when it goes out of scope. Negative: none.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept { *this = std::move(other); }
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  // The caller closes it.
  int Release() { return std::exchange(fd_, -1); }
  // Returns close()'s result: a write may fail as late as here.
  int Close() {
    const int result = close(fd_);
    fd_ = -1;
    return result;
  }

 private:
  int fd_ = -1;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_FILE_DESCRIPTOR_H_
