// A file through which a harness hands bytes to a reader.
#ifndef WYVERN_TESTS_FUZZ_SCRATCH_H_
#define WYVERN_TESTS_FUZZ_SCRATCH_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/string_view.h"
#include "kernels/runtime/check.h"

namespace wyvern {

// A folder in memory, of this process alone; it is gone when the process ends.
class Scratch {
 public:
  Scratch() {
    std::error_code error;
    const bool memory = std::filesystem::is_directory("/dev/shm", error);
    folder_ = std::string(memory ? "/dev/shm" : "/tmp") + "/wyvern_fuzz_XXXXXX";
    CHECK(mkdtemp(folder_.data()) != nullptr, "no scratch folder ", folder_);
  }
  ~Scratch() {
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& folder() const { return folder_; }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  // Replaces the file and returns its path.
  std::string Write(const std::string& name, absl::string_view bytes) const {
    const std::string path = Path(name);
    FILE* const file = std::fopen(path.c_str(), "wb");
    CHECK(file != nullptr, "cannot write ", path);
    const size_t written = bytes.empty() ? 0 : std::fwrite(bytes.data(), 1, bytes.size(), file);
    CHECK(std::fclose(file) == 0 && written == bytes.size(), "cannot write ", path);
    return path;
  }

 private:
  std::string folder_;
};

inline absl::string_view View(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_FUZZ_SCRATCH_H_
