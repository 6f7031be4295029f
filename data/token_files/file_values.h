// Numbers in a file, read in order from a place on.
#ifndef WYVERN_DATA_TOKEN_FILES_FILE_VALUES_H_
#define WYVERN_DATA_TOKEN_FILES_FILE_VALUES_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wyvern {

class FileValues {
 public:
  // Begins at a byte of the file.
  static absl::StatusOr<FileValues> Open(const std::string& path, int64_t begin);

  // The next value, little-endian. DataLoss: the file ends.
  template <typename T>
  absl::Status Read(T* value) {
    return ReadBytes(reinterpret_cast<char*>(value), sizeof(T));
  }
  absl::Status ReadBytes(char* bytes, size_t size);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  FileValues(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKEN_FILES_FILE_VALUES_H_
