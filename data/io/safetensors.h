// The safetensors format: an 8-byte little-endian header length, a JSON header
// {name: {"dtype", "shape", "data_offsets": [begin, end)}}, then the tensors' bytes, row-major.
#ifndef WYVERN_DATA_IO_SAFETENSORS_H_
#define WYVERN_DATA_IO_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/io/file_descriptor.h"
#include "data/io/output.h"

namespace wyvern {

// One tensor of a file. `dtype` is the format's name: "F64", "F32", "F16", "BF16", "I64", ...
struct SafetensorsEntry {
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes, from the start of the data

  uint64_t num_bytes() const { return end - begin; }
};

// Bytes of one element; 0 for a name that is not a dtype of the format.
int64_t SafetensorsDTypeSize(const std::string& dtype);

// An open file whose header has been checked in full: known dtypes, sizes that match the shapes,
// data without overlap, gap or missing end. Tensors are read when asked for.
class SafetensorsReader {
 public:
  // Errors: the file is missing or unreadable; DataLoss with the path and what is wrong in it.
  static absl::StatusOr<SafetensorsReader> Open(const std::string& path);

  const std::map<std::string, SafetensorsEntry>& tensors() const { return tensors_; }
  // The "__metadata__" strings.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return path_; }

  // Errors of all: NotFound for a name that is not in the file; a failed read; InvalidArgument if
  // num_bytes is not the tensor's size.
  absl::StatusOr<SafetensorsEntry> Find(const std::string& name) const;
  absl::Status Read(const std::string& name, void* to, size_t num_bytes) const;
  // Bytes [begin, begin + num_bytes) of a tensor. InvalidArgument if it has not as many.
  absl::Status ReadRange(const std::string& name, uint64_t begin, void* to, size_t num_bytes) const;

 private:
  std::string path_;
  FileDescriptor fd_;
  uint64_t data_start_ = 0;
  std::map<std::string, SafetensorsEntry> tensors_;
  std::map<std::string, std::string> metadata_;
};

struct SafetensorsSpec {
  std::string name, dtype;
  std::vector<int64_t> shape;
};

// Writes one tensor at a time, so that a model need not fit in memory twice. The file appears under
// its name only after Finish; a writer destroyed earlier leaves nothing behind.
class SafetensorsWriter {
 public:
  // `specs` lists every tensor, in the order of the file. Errors: an unknown dtype, a name given
  // twice, a file that cannot be created.
  static absl::StatusOr<SafetensorsWriter> Create(const std::string& path,
                                                  const std::vector<SafetensorsSpec>& specs);
  // In any order, each once. Errors: a name that was not declared or is already written, a size
  // that does not match, a full disk.
  absl::Status Write(const std::string& name, const void* bytes, size_t num_bytes);
  // Error if a tensor is missing. Syncs and renames.
  absl::Status Finish();

 private:
  explicit SafetensorsWriter(Output output) : output_(std::move(output)) {}
  const std::string& path() const { return output_.path(); }

  Output output_;  // outlives the file, which lies under its temporary name
  FileDescriptor fd_;
  uint64_t data_start_ = 0;
  std::map<std::string, std::pair<uint64_t, uint64_t>> missing_;  // name -> begin, end
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_SAFETENSORS_H_
