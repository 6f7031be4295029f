// GGUF, the files of llama.cpp: a header, metadata of typed keys, the tensors' names and shapes,
// then their bytes, each tensor at a multiple of 32. All numbers are little-endian. The format is
// described in docs/gguf.md of github.com/ggml-org/ggml; this is its version 3.
#ifndef WYVERN_DATA_IO_GGUF_H_
#define WYVERN_DATA_IO_GGUF_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/io/file_descriptor.h"
#include "data/io/output.h"

namespace wyvern {

// The type decides on the key's type in the file.
using GgufValue = std::variant<uint32_t, float, bool, std::string, std::vector<uint8_t>,
                               std::vector<int32_t>, std::vector<uint32_t>, std::vector<float>,
                               std::vector<bool>, std::vector<std::string>>;
// In the order of the file.
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

// The values are the format's.
enum class GgufDType : uint32_t { kF32 = 0, kF16 = 1, kBf16 = 30 };

struct GgufSpec {
  std::string name;
  GgufDType dtype;
  std::vector<int64_t> shape;  // row-major, 1 to 4 sizes; the file lists them in reverse

  int64_t num_bytes() const;
};

// Writes one tensor at a time, so that a model need not fit in memory twice. The file appears under
// its name only after Finish; a writer destroyed earlier leaves nothing behind.
class GgufWriter {
 public:
  // `specs` lists every tensor, in the order of the file. Errors: `path` exists; a key or a tensor
  // given twice, a shape that the format has no place for, a file that cannot be created.
  static absl::StatusOr<GgufWriter> Create(const std::string& path, const GgufMetadata& metadata,
                                           std::vector<GgufSpec> specs);
  // The next tensor. Errors: another name or size than the declared one, a full disk.
  absl::Status Write(const std::string& name, const void* bytes, size_t num_bytes);
  // Error if a tensor is missing. Syncs and renames.
  absl::Status Finish();

 private:
  explicit GgufWriter(Output output) : output_(std::move(output)) {}
  absl::Status Append(const void* bytes, size_t num_bytes);
  // Zeros up to the next multiple of the alignment.
  absl::Status Pad();

  Output output_;  // outlives the file, which lies under its temporary name
  FileDescriptor fd_;
  uint64_t num_bytes_ = 0;  // written
  std::vector<GgufSpec> specs_;
  size_t num_tensors_ = 0;  // written
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_GGUF_H_
