// One HDF5 file. Every call of the C library is checked; a failed one becomes an absl::Status that
// names the file, the object and the library's own reason (a full disk is ResourceExhausted).
//
// The C library is not thread-safe, so one process-wide mutex is held inside every member: any
// thread may use any Hdf5File.
//
// A file that is read leads nowhere else and asks for no more memory than it has bytes: external
// and user-defined links, external and virtual storage, filters (no file of Wyvern has them), and
// datasets larger than the file are errors.
//
// Files are written in the 1.10 format, whose metadata carries checksums, and without
// variable-length data, whose heap does not: a bit flip in the structure is an error of the
// library. Values are little-endian on disk.
#ifndef WYVERN_DATA_IO_HDF5_FILE_H_
#define WYVERN_DATA_IO_HDF5_FILE_H_

#include <cstdint>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace wyvern {

// Element types of datasets. bf16 tensors are stored as kUint16 (the raw bits).
enum class Hdf5Type { kUint8, kUint16, kUint32, kInt32, kInt64, kFloat32, kFloat64 };

const char* Hdf5TypeName(Hdf5Type type);
int64_t Hdf5TypeBytes(Hdf5Type type);

template <typename T>
constexpr Hdf5Type Hdf5TypeOf() {
  if constexpr (std::is_same_v<T, uint8_t>) return Hdf5Type::kUint8;
  if constexpr (std::is_same_v<T, uint16_t>) return Hdf5Type::kUint16;
  if constexpr (std::is_same_v<T, uint32_t>) return Hdf5Type::kUint32;
  if constexpr (std::is_same_v<T, int32_t>) return Hdf5Type::kInt32;
  if constexpr (std::is_same_v<T, int64_t>) return Hdf5Type::kInt64;
  if constexpr (std::is_same_v<T, float>) return Hdf5Type::kFloat32;
  if constexpr (std::is_same_v<T, double>) return Hdf5Type::kFloat64;
}

struct Hdf5Dataset {
  Hdf5Type type;
  std::vector<int64_t> shape;  // {}: a scalar
};

// The library's version: "1.10.8".
std::string Hdf5Version();

class Hdf5File {
 public:
  // Create truncates; write under a temporary name and rename (data/io/file.h) for an atomic file.
  static absl::StatusOr<Hdf5File> Create(const std::string& path);
  static absl::StatusOr<Hdf5File> OpenReadOnly(const std::string& path);

  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&& other) noexcept;
  ~Hdf5File();  // closes; a writer calls Close() first, to learn whether the last bytes arrived

  // After a failed write Close gives that error again and empties the file, which is of no use.
  absl::Status Close();
  const std::string& path() const { return path_; }

  // Names of groups and datasets are paths ("/model/embedding"); missing parent groups are created.
  // A group that exists is no error.
  absl::Status CreateGroup(const std::string& name);
  // Contiguous, of fixed shape; filled by WriteSlice.
  absl::Status CreateDataset(const std::string& name, Hdf5Type type,
                             absl::Span<const int64_t> shape);
  // One-dimensional, empty, chunked; grows by Append.
  absl::Status CreateGrowing(const std::string& name, Hdf5Type type, int64_t chunk);

  // Rows [first, first + num_rows) of dimension 0, all of the other dimensions. `type` is the
  // memory type and must equal the dataset's. A scalar or a whole dataset: first 0, all rows
  // (one for a scalar).
  absl::Status WriteSlice(const std::string& name, Hdf5Type type, int64_t first, int64_t num_rows,
                          const void* values);
  absl::Status ReadSlice(const std::string& name, Hdf5Type type, int64_t first, int64_t num_rows,
                         void* values) const;
  absl::Status Append(const std::string& name, Hdf5Type type, int64_t count, const void* values);

  // Creates and writes, or reads, a whole dataset.
  template <typename T>
  absl::Status Write(const std::string& name, absl::Span<const int64_t> shape, const T* values) {
    absl::Status status = CreateDataset(name, Hdf5TypeOf<T>(), shape);
    if (!status.ok()) return status;
    return WriteSlice(name, Hdf5TypeOf<T>(), 0, shape.empty() ? 1 : shape[0], values);
  }
  template <typename T>
  absl::StatusOr<std::vector<T>> Read(const std::string& name) const {
    absl::StatusOr<Hdf5Dataset> info = Describe(name);
    if (!info.ok()) return info.status();
    int64_t count = 1;
    for (const int64_t size : info->shape) count *= size;
    std::vector<T> values(count);
    absl::Status status = ReadSlice(name, Hdf5TypeOf<T>(), 0,
                                    info->shape.empty() ? 1 : info->shape[0], values.data());
    if (!status.ok()) return status;
    return values;
  }

  bool Exists(const std::string& name) const;
  absl::StatusOr<Hdf5Dataset> Describe(const std::string& name) const;
  // Names of the members of a group, sorted, without the group's own path.
  absl::StatusOr<std::vector<std::string>> List(const std::string& group) const;

  // Attributes of a group ("/" is the file's own) or dataset: fixed-length UTF-8 strings of at most
  // 60,000 bytes, int64, float64. Writing one twice replaces it.
  absl::Status SetAttribute(const std::string& object, const std::string& name,
                            const std::string& value);
  absl::Status SetAttribute(const std::string& object, const std::string& name, int64_t value);
  absl::Status SetAttribute(const std::string& object, const std::string& name, double value);
  absl::StatusOr<std::string> GetString(const std::string& object, const std::string& name) const;
  absl::StatusOr<int64_t> GetInt(const std::string& object, const std::string& name) const;
  absl::StatusOr<double> GetDouble(const std::string& object, const std::string& name) const;

 private:
  Hdf5File(std::string path, int64_t id) : path_(std::move(path)), id_(id) {}
  absl::Status Fail(const std::string& what) const;
  absl::StatusOr<int64_t> OpenDataset(const std::string& name) const;
  absl::Status CheckLinks(const std::string& name) const;
  absl::Status CheckStorage(const std::string& name, int64_t id) const;
  absl::Status Create(const std::string& name, Hdf5Type type, absl::Span<const int64_t> shape,
                      int64_t chunk);
  absl::Status Transfer(const std::string& name, Hdf5Type type, int64_t first, int64_t num_rows,
                        const void* source, void* target) const;
  absl::Status WriteAttribute(const std::string& object, const std::string& name, int64_t file_type,
                              int64_t memory_type, const void* value);
  absl::Status ReadAttribute(const std::string& object, const std::string& name, int type_class,
                             int64_t memory_type, void* value) const;

  std::string path_;
  int64_t id_ = -1;
  bool writable_ = false;
  int64_t num_bytes_ = 0;                            // of a file that is read
  mutable absl::Status write_error_;                 // the first; nothing is written after it
  mutable std::map<std::string, int64_t> datasets_;  // open handles: an open per read costs more
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_HDF5_FILE_H_
