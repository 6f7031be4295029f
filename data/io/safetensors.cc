#include "data/io/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
// The format's own limit, which keeps a damaged length from asking for all memory.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr const char* kMetadata = "__metadata__";

template <typename... Parts>
absl::Status Damaged(const std::string& path, const Parts&... parts) {
  return absl::DataLossError(absl::StrCat(path, ": ", parts..., "; fetch or export it again"));
}

absl::Status ReadAt(const FileDescriptor& fd, const std::string& path, uint64_t offset, void* to,
                    size_t num_bytes) {
  char* at = static_cast<char*>(to);
  while (num_bytes > 0) {
    const ssize_t got = pread(fd.get(), at, num_bytes, static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "cannot read", path);
    }
    if (got == 0) return Damaged(path, "the file ends at byte ", offset);
    at += got;
    offset += got;
    num_bytes -= got;
  }
  return absl::OkStatus();
}

absl::Status WriteAt(const FileDescriptor& fd, const std::string& path, uint64_t offset,
                     const void* from, size_t num_bytes) {
  const char* at = static_cast<const char*>(from);
  while (num_bytes > 0) {
    const ssize_t put = pwrite(fd.get(), at, num_bytes, static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "cannot write", path);
    }
    at += put;
    offset += put;
    num_bytes -= put;
  }
  return absl::OkStatus();
}

// Elements times element size; false if it does not fit in 63 bits.
bool DataBytes(const std::vector<int64_t>& shape, int64_t element_size, uint64_t* bytes) {
  int64_t product = element_size;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(product, size, &product)) return false;
  }
  *bytes = static_cast<uint64_t>(product);
  return true;
}

// nlohmann keeps the last of two equal keys; a file that has them is damaged. Discarded if it is no
// JSON or nested too deeply.
Json ParseHeader(const std::string& text, std::string* repeated_name) {
  std::set<std::string> names;
  const auto callback = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxJsonDepth) return false;
    if (event == Json::parse_event_t::key && depth == 1 &&
        !names.insert(parsed.get_ref<const std::string&>()).second) {
      *repeated_name = parsed.get_ref<const std::string&>();
    }
    return true;
  };
  return Json::parse(text, callback, /*allow_exceptions=*/false);
}

absl::StatusOr<SafetensorsEntry> ParseEntry(const std::string& path, const std::string& name,
                                            const Json& json) {
  const auto is_count = [](const Json& j) {
    return j.is_number_unsigned() && j.get<uint64_t>() <= std::numeric_limits<int64_t>::max();
  };
  const auto is_counts = [&](const Json& j) {
    return j.is_array() && std::all_of(j.begin(), j.end(), is_count);
  };
  if (!json.is_object() || !json.contains("dtype") || !json["dtype"].is_string() ||
      !json.contains("shape") || !is_counts(json["shape"]) || !json.contains("data_offsets") ||
      !is_counts(json["data_offsets"]) || json["data_offsets"].size() != 2) {
    return Damaged(path, "tensor '", name, "' needs a dtype, a shape and two data_offsets");
  }
  SafetensorsEntry entry;
  entry.dtype = json["dtype"].get<std::string>();
  entry.shape = json["shape"].get<std::vector<int64_t>>();
  entry.begin = json["data_offsets"][0].get<uint64_t>();
  entry.end = json["data_offsets"][1].get<uint64_t>();
  const int64_t element_size = SafetensorsDTypeSize(entry.dtype);
  if (element_size == 0) return Damaged(path, "tensor '", name, "' has dtype '", entry.dtype, "'");
  uint64_t expected = 0;
  if (!DataBytes(entry.shape, element_size, &expected) || entry.begin > entry.end ||
      entry.num_bytes() != expected) {
    return Damaged(path, "tensor '", name, "' of dtype ", entry.dtype, " and shape [",
                   absl::StrJoin(entry.shape, ", "), "] does not fill bytes ", entry.begin, " to ",
                   entry.end);
  }
  return entry;
}

// Every byte of the data belongs to exactly one tensor.
absl::Status CheckCover(const std::string& path,
                        const std::map<std::string, SafetensorsEntry>& tensors,
                        uint64_t num_data_bytes) {
  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> order;
  for (const auto& [name, entry] : tensors) order.emplace_back(&name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  uint64_t end = 0;
  for (const auto& [name, entry] : order) {
    if (entry->begin != end) {
      return Damaged(path, "tensor '", *name, "' starts at byte ", entry->begin, " of the data, ",
                     entry->begin < end ? "inside" : "away from", " the one before, which ends at ",
                     end);
    }
    end = entry->end;
  }
  if (end != num_data_bytes) {
    return Damaged(path, "the header speaks of ", end, " bytes of data, the file has ",
                   num_data_bytes);
  }
  return absl::OkStatus();
}

}  // namespace

int64_t SafetensorsDTypeSize(const std::string& dtype) {
  static const std::map<std::string, int64_t> sizes = {
      {"F64", 8},     {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1},
      {"F8_E5M2", 1}, {"I64", 8}, {"I32", 4}, {"I16", 2},  {"I8", 1},
      {"U64", 8},     {"U32", 4}, {"U16", 2}, {"U8", 1},   {"BOOL", 1}};
  const auto found = sizes.find(dtype);
  return found == sizes.end() ? 0 : found->second;
}

absl::StatusOr<SafetensorsReader> SafetensorsReader::Open(const std::string& path) {
  const Operation reading(absl::StrCat("reading the header of ", path));
  SafetensorsReader reader;
  reader.path_ = path;
  reader.fd_ = FileDescriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (reader.fd_.get() < 0) return ErrnoStatus(errno, "cannot open", path);
  struct stat info;
  if (fstat(reader.fd_.get(), &info) != 0) return ErrnoStatus(errno, "cannot read", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a file"));
  }
  const uint64_t file_bytes = static_cast<uint64_t>(info.st_size);
  if (file_bytes < kLengthBytes) {
    return Damaged(path, file_bytes, " bytes are too short for a safetensors file");
  }
  std::array<uint8_t, kLengthBytes> length_bytes;
  RETURN_IF_ERROR(ReadAt(reader.fd_, path, 0, length_bytes.data(), kLengthBytes));
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    header_bytes |= static_cast<uint64_t>(length_bytes[i]) << (8 * i);
  }
  if (header_bytes > kMaxHeaderBytes || header_bytes > file_bytes - kLengthBytes) {
    return Damaged(path, "a header of ", header_bytes, " bytes does not fit in a file of ",
                   file_bytes, " (cut off, or not a safetensors file)");
  }
  std::string text(header_bytes, '\0');
  RETURN_IF_ERROR(ReadAt(reader.fd_, path, kLengthBytes, text.data(), text.size()));
  std::string repeated;
  const Json header = ParseHeader(text, &repeated);
  if (!header.is_object()) return Damaged(path, "the header is not a JSON object");
  if (!repeated.empty()) return Damaged(path, "'", repeated, "' stands twice in the header");
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadata) {
      if (!value.is_object()) return Damaged(path, "__metadata__ is not a JSON object");
      for (const auto& [key, text_value] : value.items()) {
        if (!text_value.is_string()) {
          return Damaged(path, "__metadata__ entry '", key, "' is not a string");
        }
        reader.metadata_[key] = text_value.get<std::string>();
      }
      continue;
    }
    ASSIGN_OR_RETURN(reader.tensors_[name], ParseEntry(path, name, value));
  }
  reader.data_start_ = kLengthBytes + header_bytes;
  RETURN_IF_ERROR(CheckCover(path, reader.tensors_, file_bytes - reader.data_start_));
  return reader;
}

absl::StatusOr<SafetensorsEntry> SafetensorsReader::Find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": no tensor '", name, "'"));
  }
  return found->second;
}

absl::Status SafetensorsReader::Read(const std::string& name, void* to, size_t num_bytes) const {
  ASSIGN_OR_RETURN(const SafetensorsEntry entry, Find(name));
  if (entry.num_bytes() != num_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor '", name, "' has ",
                                                   entry.num_bytes(), " bytes, not ", num_bytes));
  }
  return ReadAt(fd_, path_, data_start_ + entry.begin, to, num_bytes);
}

absl::Status SafetensorsReader::ReadRange(const std::string& name, uint64_t begin, void* to,
                                          size_t num_bytes) const {
  ASSIGN_OR_RETURN(const SafetensorsEntry entry, Find(name));
  if (begin > entry.num_bytes() || num_bytes > entry.num_bytes() - begin) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor '", name, "' has ",
                                                   entry.num_bytes(), " bytes, not ", begin, " + ",
                                                   num_bytes));
  }
  return ReadAt(fd_, path_, data_start_ + entry.begin + begin, to, num_bytes);
}

absl::StatusOr<SafetensorsWriter> SafetensorsWriter::Create(
    const std::string& path, const std::vector<SafetensorsSpec>& specs) {
  ASSIGN_OR_RETURN(Output output, Output::Claim(path));
  SafetensorsWriter writer(std::move(output));
  nlohmann::ordered_json header;
  header[kMetadata] = {{"format", "pt"}};
  uint64_t end = 0;
  for (const SafetensorsSpec& spec : specs) {
    uint64_t bytes = 0;
    const int64_t element_size = SafetensorsDTypeSize(spec.dtype);
    if (element_size == 0 || !DataBytes(spec.shape, element_size, &bytes)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor '", spec.name,
                                                     "' with dtype '", spec.dtype, "' and shape [",
                                                     absl::StrJoin(spec.shape, ", "), "]"));
    }
    if (!writer.missing_.emplace(spec.name, std::pair(end, end + bytes)).second ||
        spec.name == kMetadata) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor '", spec.name, "' is declared twice"));
    }
    header[spec.name] = {
        {"dtype", spec.dtype}, {"shape", spec.shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string start(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i) start[i] = static_cast<char>(text.size() >> (8 * i));
  start += text;

  const std::string& temporary = writer.output_.temporary();
  writer.fd_ =
      FileDescriptor(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (writer.fd_.get() < 0) return ErrnoStatus(errno, "cannot create", temporary);
  writer.data_start_ = start.size();
  RETURN_IF_ERROR(WriteAt(writer.fd_, temporary, 0, start.data(), start.size()));
  return writer;
}

absl::Status SafetensorsWriter::Write(const std::string& name, const void* bytes,
                                      size_t num_bytes) {
  const auto found = missing_.find(name);
  if (found == missing_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path(), ": tensor '", name, "' was not declared or is already written"));
  }
  const auto [begin, end] = found->second;
  if (end - begin != num_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path(), ": tensor '", name, "' has ", end - begin, " bytes, not ", num_bytes));
  }
  RETURN_IF_ERROR(WriteAt(fd_, output_.temporary(), data_start_ + begin, bytes, num_bytes));
  missing_.erase(found);
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  if (!missing_.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path(), ": tensor '", missing_.begin()->first, "' was never written"));
  }
  if (fd_.Close() != 0) return ErrnoStatus(errno, "cannot write", output_.temporary());
  return output_.Commit();
}

}  // namespace wyvern
