// Hdf5File's attributes.
#include <hdf5.h>

#include "absl/strings/str_cat.h"
#include "data/io/hdf5_file.h"
#include "data/io/hdf5_internal.h"
#include "kernels/runtime/status.h"

namespace wyvern {

using hdf5_internal::Handle;
using hdf5_internal::LibraryLock;

namespace {

constexpr size_t kMaxStringBytes = 60000;  // an object header's limit is 64 KiB

std::string What(const char* action, const std::string& object, const std::string& name) {
  return absl::StrCat("cannot ", action, " the attribute ", name, " of ", object);
}

hid_t MakeStringType(size_t num_bytes) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, num_bytes);
  H5Tset_cset(type, H5T_CSET_UTF8);
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  return type;
}

}  // namespace

absl::Status Hdf5File::WriteAttribute(const std::string& object, const std::string& name,
                                      int64_t file_type, int64_t memory_type, const void* value) {
  Handle owner(H5Oopen(id_, object.c_str(), H5P_DEFAULT), H5Oclose);
  if (!owner.ok()) return Fail(What("write", object, name));
  if (H5Aexists(owner.get(), name.c_str()) > 0) H5Adelete(owner.get(), name.c_str());
  Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  Handle attribute(
      H5Acreate2(owner.get(), name.c_str(), file_type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
      H5Aclose);
  if (!attribute.ok() || H5Awrite(attribute.get(), memory_type, value) < 0) {
    return Fail(What("write", object, name));
  }
  return absl::OkStatus();
}

absl::Status Hdf5File::SetAttribute(const std::string& object, const std::string& name,
                                    const std::string& value) {
  LibraryLock lock;
  if (value.size() > kMaxStringBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", What("write", object, name), ": ",
                                                   value.size(), " bytes, at most ",
                                                   kMaxStringBytes, " fit"));
  }
  // A type of no bytes is not allowed; the padding makes an empty string of one zero byte.
  Handle type(MakeStringType(value.empty() ? 1 : value.size()), H5Tclose);
  return WriteAttribute(object, name, type.get(), type.get(), value.c_str());
}

absl::Status Hdf5File::SetAttribute(const std::string& object, const std::string& name,
                                    int64_t value) {
  LibraryLock lock;
  return WriteAttribute(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

absl::Status Hdf5File::SetAttribute(const std::string& object, const std::string& name,
                                    double value) {
  LibraryLock lock;
  return WriteAttribute(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

absl::Status Hdf5File::ReadAttribute(const std::string& object, const std::string& name,
                                     int type_class, int64_t memory_type, void* value) const {
  Handle attribute(H5Aopen_by_name(id_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                   H5Aclose);
  if (!attribute.ok()) return Fail(What("find", object, name));
  Handle type(H5Aget_type(attribute.get()), H5Tclose);
  Handle space(H5Aget_space(attribute.get()), H5Sclose);
  if (H5Tget_class(type.get()) != type_class || H5Sget_simple_extent_npoints(space.get()) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": ", What("read", object, name), ": it has another type"));
  }
  if (H5Aread(attribute.get(), memory_type, value) < 0) return Fail(What("read", object, name));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Hdf5File::GetString(const std::string& object,
                                                const std::string& name) const {
  LibraryLock lock;
  Handle attribute(H5Aopen_by_name(id_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                   H5Aclose);
  if (!attribute.ok()) return Fail(What("find", object, name));
  Handle file_type(H5Aget_type(attribute.get()), H5Tclose);
  const size_t size = H5Tget_size(file_type.get());
  if (H5Tget_class(file_type.get()) != H5T_STRING || H5Tis_variable_str(file_type.get()) != 0 ||
      size > kMaxStringBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", What("read", object, name),
                                                   ": expected a string of fixed length"));
  }
  std::string value(size, '\0');
  Handle type(MakeStringType(size), H5Tclose);
  RETURN_IF_ERROR(ReadAttribute(object, name, H5T_STRING, type.get(), value.data()));
  value.resize(value.find_last_not_of('\0') + 1);
  return value;
}

absl::StatusOr<int64_t> Hdf5File::GetInt(const std::string& object, const std::string& name) const {
  LibraryLock lock;
  int64_t value = 0;
  RETURN_IF_ERROR(ReadAttribute(object, name, H5T_INTEGER, H5T_NATIVE_INT64, &value));
  return value;
}

absl::StatusOr<double> Hdf5File::GetDouble(const std::string& object,
                                           const std::string& name) const {
  LibraryLock lock;
  double value = 0;
  RETURN_IF_ERROR(ReadAttribute(object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, &value));
  return value;
}

}  // namespace wyvern
