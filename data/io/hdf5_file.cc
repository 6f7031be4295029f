#include "data/io/hdf5_file.h"

#include <hdf5.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/io/hdf5_internal.h"
#include "data/io/lock_file.h"
#include "kernels/runtime/catch.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/checked_math.h"
#include "kernels/runtime/status.h"

namespace wyvern {

using hdf5_internal::Handle;
using hdf5_internal::LibraryLock;

namespace {

hid_t MemoryType(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::kUint8:
      return H5T_NATIVE_UINT8;
    case Hdf5Type::kUint16:
      return H5T_NATIVE_UINT16;
    case Hdf5Type::kUint32:
      return H5T_NATIVE_UINT32;
    case Hdf5Type::kInt32:
      return H5T_NATIVE_INT32;
    case Hdf5Type::kInt64:
      return H5T_NATIVE_INT64;
    case Hdf5Type::kFloat32:
      return H5T_NATIVE_FLOAT;
    case Hdf5Type::kFloat64:
      return H5T_NATIVE_DOUBLE;
  }
  return -1;
}

hid_t FileType(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::kUint8:
      return H5T_STD_U8LE;
    case Hdf5Type::kUint16:
      return H5T_STD_U16LE;
    case Hdf5Type::kUint32:
      return H5T_STD_U32LE;
    case Hdf5Type::kInt32:
      return H5T_STD_I32LE;
    case Hdf5Type::kInt64:
      return H5T_STD_I64LE;
    case Hdf5Type::kFloat32:
      return H5T_IEEE_F32LE;
    case Hdf5Type::kFloat64:
      return H5T_IEEE_F64LE;
  }
  return -1;
}

constexpr std::array<Hdf5Type, 7> kTypes = {
    Hdf5Type::kUint8, Hdf5Type::kUint16,  Hdf5Type::kUint32, Hdf5Type::kInt32,
    Hdf5Type::kInt64, Hdf5Type::kFloat32, Hdf5Type::kFloat64};

// Closing a file closes all that is open in it.
hid_t MakeFileAccess(bool locks) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  H5Pset_file_locking(access, locks, /*ignore_when_disabled=*/1);
  return access;
}

// Whether the last call failed since the file system has no locks: by itself the library forgives
// only one of the errors that say so.
bool LocksAreMissing() {
  bool missing = false;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_DOWNWARD,
      [](unsigned, const H5E_error2_t* error, void* missing) -> herr_t {
        // "unable to lock file, errno = 37, error message = '...'".
        const absl::string_view text = error->desc == nullptr ? "" : error->desc;
        int number = 0;
        std::vector<absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits(" = ", 1));
        if (absl::StrContains(text, "lock file") && parts.size() == 2 &&
            absl::SimpleAtoi(parts[1].substr(0, parts[1].find(',')), &number) &&
            MeansNoLocks(number)) {
          *static_cast<bool*>(missing) = true;
        }
        return 0;
      },
      &missing);
  return missing;
}

// open(access), with locks where the file system has them. `locked` and `unlocked` outlive the
// reading of the error: closing them would clear it.
template <typename Open>
hid_t OpenLocked(const Open& open, const Handle& locked, const Handle& unlocked) {
  const hid_t id = open(locked.get());
  return id < 0 && LocksAreMissing() ? open(unlocked.get()) : id;
}

// Equal content gives equal files: nothing in them tells when they were written.
hid_t WithoutTimes(hid_t property_class) {
  const hid_t properties = H5Pcreate(property_class);
  H5Pset_obj_track_times(properties, false);
  return properties;
}

// Whether a file begins as those of the 1.10 format do: the signature and superblock 2 or 3. The
// structure of older files carries no checksums.
bool HasKnownSuperblock(const std::string& path) {
  constexpr char kSignature[] = "\x89HDF\r\n\x1a\n";
  std::array<char, 9> start{};
  std::ifstream file(path, std::ios::binary);
  return file.read(start.data(), start.size()) && std::memcmp(start.data(), kSignature, 8) == 0 &&
         (start[8] == 2 || start[8] == 3);
}

// The innermost message of the library's error stack, which names the cause.
std::string LibraryReason() {
  std::string reason;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_DOWNWARD,
      [](unsigned, const H5E_error2_t* error, void* reason) -> herr_t {
        if (error->desc != nullptr) *static_cast<std::string*>(reason) = error->desc;
        return 0;
      },
      &reason);
  // A failed system call is reported with its time, descriptor and addresses around the cause.
  constexpr absl::string_view kCause = "error message = '";
  const size_t cause = reason.find(kCause.data());
  if (cause == std::string::npos) return reason;
  const size_t begin = cause + kCause.size();
  return reason.substr(begin, reason.find('\'', begin) - begin);
}

}  // namespace

const char* Hdf5TypeName(Hdf5Type type) {
  constexpr std::array<const char*, 7> kNames = {"uint8", "uint16",  "uint32", "int32",
                                                 "int64", "float32", "float64"};
  return kNames[static_cast<int>(type)];
}

int64_t Hdf5TypeBytes(Hdf5Type type) {
  constexpr std::array<int64_t, 7> kBytes = {1, 2, 4, 4, 8, 4, 8};
  return kBytes[static_cast<int>(type)];
}

absl::Status Hdf5File::Fail(const std::string& what) const {
  const std::string reason = LibraryReason();
  const std::string message =
      absl::StrCat(path_, ": ", what, reason.empty() ? "" : absl::StrCat(" (HDF5: ", reason, ")"));
  if (absl::StrContains(reason, "No space left") || absl::StrContains(reason, "quota exceeded")) {
    return absl::ResourceExhaustedError(
        absl::StrCat(message, ": the disk is full; free some space or write to another disk"));
  }
  return absl::DataLossError(message);
}

std::string Hdf5Version() {
  const LibraryLock lock;  // the library's first call of all must be behind it
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return absl::StrCat(major, ".", minor, ".", release);
}

absl::StatusOr<Hdf5File> Hdf5File::Create(const std::string& path) {
  LibraryLock lock;
  const Handle creation(WithoutTimes(H5P_FILE_CREATE), H5Pclose);
  const Handle locked(MakeFileAccess(true), H5Pclose), unlocked(MakeFileAccess(false), H5Pclose);
  const auto create = [&](hid_t access) {
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    return H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access);
  };
  Hdf5File file(path, OpenLocked(create, locked, unlocked));
  if (file.id_ < 0) return file.Fail("cannot create the file");
  file.writable_ = true;
  return file;
}

absl::StatusOr<Hdf5File> Hdf5File::OpenReadOnly(const std::string& path) {
  LibraryLock lock;
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) {
      return absl::DataLossError(absl::StrCat(path, " is a folder; name a file, such as ", path,
                                              "/train.h5 or ", path, "/val.h5 of token stores"));
    }
    if (!S_ISREG(info.st_mode) || !HasKnownSuperblock(path)) {
      return absl::DataLossError(absl::StrCat(
          path,
          ": neither a token store nor a part of a checkpoint: not an HDF5 file of the 1.10 "
          "format, or its first bytes are damaged"));
    }
  }
  const Handle locked(MakeFileAccess(true), H5Pclose), unlocked(MakeFileAccess(false), H5Pclose);
  const auto open = [&](hid_t access) { return H5Fopen(path.c_str(), H5F_ACC_RDONLY, access); };
  Hdf5File file(path, OpenLocked(open, locked, unlocked));
  if (file.id_ < 0) {
    absl::Status status = file.Fail("cannot open the file");
    if (absl::StrContains(status.message(), "No such file")) {
      return absl::NotFoundError(status.message());
    }
    return status;
  }
  file.num_bytes_ = static_cast<int64_t>(info.st_size);
  return file;
}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : path_(std::move(other.path_)),
      id_(std::exchange(other.id_, -1)),
      writable_(other.writable_),
      num_bytes_(other.num_bytes_),
      write_error_(std::move(other.write_error_)),
      datasets_(std::move(other.datasets_)) {
  other.datasets_.clear();
}

Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
  if (this != &other) {
    Close().IgnoreError();
    path_ = std::move(other.path_);
    id_ = std::exchange(other.id_, -1);
    writable_ = other.writable_;
    num_bytes_ = other.num_bytes_;
    write_error_ = std::move(other.write_error_);
    datasets_ = std::exchange(other.datasets_, {});
  }
  return *this;
}

// Without memory for the error's text, it stays open.
Hdf5File::~Hdf5File() {
  CatchAll([this] { return Close(); }).IgnoreError();
}

absl::Status Hdf5File::Close() {
  if (id_ < 0) return absl::OkStatus();
  LibraryLock lock;
  if (write_error_.ok() && writable_ && H5Fflush(id_, H5F_SCOPE_LOCAL) < 0) {
    write_error_ = Fail("cannot write the file");
  }
  if (!write_error_.ok()) {
    // The library crashes when it closes a file whose cached blocks cannot be written. The handles
    // are left open instead, and the disk space, which may be what was missing, is freed.
    int* descriptor = nullptr;
    if (H5Fget_vfd_handle(id_, H5P_DEFAULT, reinterpret_cast<void**>(&descriptor)) >= 0) {
      [[maybe_unused]] const int ignored = ftruncate(*descriptor, 0);  // the error is known already
    }
    id_ = -1;
    datasets_.clear();
    return write_error_;
  }
  absl::Status status;
  for (const auto& [name, id] : std::exchange(datasets_, {})) {
    if (H5Dclose(id) < 0 && status.ok()) {
      status = Fail(absl::StrCat("cannot finish the dataset ", name));
    }
  }
  if (H5Fclose(std::exchange(id_, -1)) < 0 && status.ok()) status = Fail("cannot finish the file");
  return status;
}

absl::Status Hdf5File::CreateGroup(const std::string& name) {
  LibraryLock lock;
  Handle creation(WithoutTimes(H5P_GROUP_CREATE), H5Pclose);
  for (size_t end = 0; end < name.size();) {
    end = std::min(name.find('/', end + 1), name.size());
    const std::string prefix = name.substr(0, end);
    if (prefix == "/" || H5Lexists(id_, prefix.c_str(), H5P_DEFAULT) > 0) continue;
    Handle group(H5Gcreate2(id_, prefix.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                 H5Gclose);
    if (!group.ok()) return Fail(absl::StrCat("cannot create the group ", prefix));
  }
  return absl::OkStatus();
}

absl::Status Hdf5File::Create(const std::string& name, Hdf5Type type,
                              absl::Span<const int64_t> shape, int64_t chunk) {
  LibraryLock lock;
  const size_t parent = name.rfind('/');
  if (parent != std::string::npos) RETURN_IF_ERROR(CreateGroup(name.substr(0, parent)));
  Handle layout(WithoutTimes(H5P_DATASET_CREATE), H5Pclose);
  std::vector<hsize_t> sizes(shape.begin(), shape.end());
  std::vector<hsize_t> limits = sizes;
  if (chunk > 0) {
    limits[0] = H5S_UNLIMITED;
    const hsize_t chunk_size = chunk;
    H5Pset_chunk(layout.get(), 1, &chunk_size);
  }
  Handle space(sizes.empty()
                   ? H5Screate(H5S_SCALAR)
                   : H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), limits.data()),
               H5Sclose);
  const hid_t id = H5Dcreate2(id_, name.c_str(), FileType(type), space.get(), H5P_DEFAULT,
                              layout.get(), H5P_DEFAULT);
  if (id < 0) return Fail(absl::StrCat("cannot create the dataset ", name));
  datasets_[name] = id;
  return absl::OkStatus();
}

absl::Status Hdf5File::CreateDataset(const std::string& name, Hdf5Type type,
                                     absl::Span<const int64_t> shape) {
  return Create(name, type, shape, /*chunk=*/0);
}

absl::Status Hdf5File::CreateGrowing(const std::string& name, Hdf5Type type, int64_t chunk) {
  return Create(name, type, {0}, chunk);
}

absl::StatusOr<int64_t> Hdf5File::OpenDataset(const std::string& name) const {
  const auto found = datasets_.find(name);
  if (found != datasets_.end()) return found->second;
  if (!writable_) RETURN_IF_ERROR(CheckLinks(name));
  const hid_t id = H5Dopen2(id_, name.c_str(), H5P_DEFAULT);
  if (id < 0) return Fail(absl::StrCat("cannot open the dataset ", name));
  const absl::Status storage = writable_ ? absl::OkStatus() : CheckStorage(name, id);
  if (!storage.ok()) {
    H5Dclose(id);
    return storage;
  }
  datasets_[name] = id;
  return id;
}

absl::Status Hdf5File::CheckLinks(const std::string& name) const {
  for (size_t end = 0; end < name.size();) {
    end = std::min(name.find('/', end + 1), name.size());
    const std::string prefix = name.substr(0, end);
    H5L_info_t link;
    if (prefix == "/" || H5Lget_info(id_, prefix.c_str(), &link, H5P_DEFAULT) < 0) continue;
    if (link.type != H5L_TYPE_HARD && link.type != H5L_TYPE_SOFT) {
      return absl::DataLossError(
          absl::StrCat(path_, ": ", prefix, " is a link out of the file, which is never followed"));
    }
  }
  return absl::OkStatus();
}

absl::Status Hdf5File::CheckStorage(const std::string& name, int64_t id) const {
  const auto refused = [&](absl::string_view why) {
    return absl::DataLossError(absl::StrCat(path_, ": the dataset ", name, " ", why));
  };
  Handle layout(H5Dget_create_plist(id), H5Pclose);
  Handle space(H5Dget_space(id), H5Sclose);
  Handle type(H5Dget_type(id), H5Tclose);
  if (!layout.ok() || !space.ok() || !type.ok()) {
    return Fail(absl::StrCat("cannot describe the dataset ", name));
  }
  if (H5Pget_external_count(layout.get()) != 0 || H5Pget_layout(layout.get()) == H5D_VIRTUAL) {
    return refused("keeps its values in other files, which are never read");
  }
  if (H5Pget_nfilters(layout.get()) != 0) {
    return refused("is compressed or filtered, as none of Wyvern's are");
  }
  const int64_t count = H5Sget_simple_extent_npoints(space.get());
  const std::optional<int64_t> bytes =
      CheckedProduct({count, static_cast<int64_t>(H5Tget_size(type.get()))});
  if (!bytes.has_value() || *bytes > num_bytes_) {
    return refused(absl::StrCat("claims ", count, " values, more than the file's ", num_bytes_,
                                " bytes can hold"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Hdf5Dataset> Hdf5File::Describe(const std::string& name) const {
  LibraryLock lock;
  ASSIGN_OR_RETURN(const hid_t id, OpenDataset(name));
  Handle space(H5Dget_space(id), H5Sclose);
  Handle type(H5Dget_type(id), H5Tclose);
  const int rank = space.ok() ? H5Sget_simple_extent_ndims(space.get()) : -1;
  if (rank < 0 || !type.ok()) return Fail(absl::StrCat("cannot describe the dataset ", name));
  std::vector<hsize_t> sizes(rank);
  H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr);
  for (const Hdf5Type candidate : kTypes) {
    if (H5Tequal(type.get(), FileType(candidate)) > 0) {
      return Hdf5Dataset{candidate, {sizes.begin(), sizes.end()}};
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path_, ": the dataset ", name, " has an element type that is not supported"));
}

absl::Status Hdf5File::Transfer(const std::string& name, Hdf5Type type, int64_t first,
                                int64_t num_rows, const void* source, void* target) const {
  LibraryLock lock;
  ASSIGN_OR_RETURN(const Hdf5Dataset info, Describe(name));
  if (info.type != type) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": the dataset ", name, " is of ",
                                                   Hdf5TypeName(info.type), ", expected ",
                                                   Hdf5TypeName(type)));
  }
  const int64_t rows = info.shape.empty() ? 1 : info.shape[0];
  if (first < 0 || num_rows < 0 || first + num_rows > rows) {
    return absl::OutOfRangeError(absl::StrCat(path_, ": the dataset ", name, " has ", rows,
                                              " rows, asked for [", first, ", ", first + num_rows,
                                              ")"));
  }
  std::vector<hsize_t> start(info.shape.size(), 0), count(info.shape.begin(), info.shape.end());
  if (!info.shape.empty()) {
    start[0] = first;
    count[0] = num_rows;
  }
  if (std::find(count.begin(), count.end(), hsize_t{0}) != count.end()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const hid_t id, OpenDataset(name));
  Handle file_space(H5Dget_space(id), H5Sclose);
  Handle memory_space(info.shape.empty()
                          ? H5Screate(H5S_SCALAR)
                          : H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr),
                      H5Sclose);
  if (!file_space.ok() || !memory_space.ok() ||
      (!info.shape.empty() && H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(),
                                                  nullptr, count.data(), nullptr) < 0)) {
    return Fail(absl::StrCat("cannot select rows of the dataset ", name));
  }
  RETURN_IF_ERROR(write_error_);
  CHECK(source != nullptr || target != nullptr);
  if (source != nullptr) {
    if (H5Dwrite(id, MemoryType(type), memory_space.get(), file_space.get(), H5P_DEFAULT, source) <
        0) {
      write_error_ = Fail(absl::StrCat("cannot write the dataset ", name));
    }
    return write_error_;
  }
  return H5Dread(id, MemoryType(type), memory_space.get(), file_space.get(), H5P_DEFAULT, target) <
                 0
             ? Fail(absl::StrCat("cannot read the dataset ", name))
             : absl::OkStatus();
}

absl::Status Hdf5File::WriteSlice(const std::string& name, Hdf5Type type, int64_t first,
                                  int64_t num_rows, const void* values) {
  return Transfer(name, type, first, num_rows, values, nullptr);
}

absl::Status Hdf5File::ReadSlice(const std::string& name, Hdf5Type type, int64_t first,
                                 int64_t num_rows, void* values) const {
  return Transfer(name, type, first, num_rows, nullptr, values);
}

absl::Status Hdf5File::Append(const std::string& name, Hdf5Type type, int64_t count,
                              const void* values) {
  LibraryLock lock;
  ASSIGN_OR_RETURN(const Hdf5Dataset info, Describe(name));
  ASSIGN_OR_RETURN(const hid_t id, OpenDataset(name));
  const hsize_t size = info.shape.at(0) + count;
  if (H5Dset_extent(id, &size) < 0) {
    write_error_ = Fail(absl::StrCat("cannot extend the dataset ", name));
    return write_error_;
  }
  return WriteSlice(name, type, info.shape[0], count, values);
}

bool Hdf5File::Exists(const std::string& name) const {
  LibraryLock lock;
  return H5Oexists_by_name(id_, name.c_str(), H5P_DEFAULT) > 0;
}

absl::StatusOr<std::vector<std::string>> Hdf5File::List(const std::string& group) const {
  LibraryLock lock;
  Handle id(H5Gopen2(id_, group.c_str(), H5P_DEFAULT), H5Gclose);
  if (!id.ok()) return Fail(absl::StrCat("cannot open the group ", group));
  std::vector<std::string> names;
  const herr_t result = H5Literate(
      id.get(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr,
      [](hid_t, const char* name, const H5L_info_t*, void* names) -> herr_t {
        static_cast<std::vector<std::string>*>(names)->push_back(name);
        return 0;
      },
      &names);
  if (result < 0) return Fail(absl::StrCat("cannot list the group ", group));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace wyvern
