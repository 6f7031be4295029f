#include "data/io/gguf.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "data/io/output_file.h"
#include "data/io/utf8.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr absl::string_view kMagic = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;  // what readers assume where general.alignment is absent
constexpr size_t kMaxDims = 4;
constexpr size_t kMaxTensorName = 63;

// The format's numbers of types.
enum ValueType : uint32_t {
  kUint8 = 0,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9
};

uint64_t Aligned(uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

// The head of a file, in memory.
class Head {
 public:
  template <typename T>
  void Number(T value) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(value));  // the hosts are little-endian
    for (size_t i = 0; i < sizeof(value); ++i) bytes_.push_back(static_cast<char>(bits >> (8 * i)));
  }
  void Text(absl::string_view text) {
    Number(static_cast<uint64_t>(text.size()));
    Raw(text);
  }
  void Raw(absl::string_view bytes) { bytes_.append(bytes.data(), bytes.size()); }

  // A key's type, then its value.
  void Value(uint32_t value) { Scalar(kUint32, value); }
  void Value(float value) { Scalar(kFloat32, value); }
  void Value(bool value) { Scalar(kBool, static_cast<uint8_t>(value)); }
  void Value(const std::string& value) {
    Number<uint32_t>(kString);
    Text(value);
  }
  void Value(const std::vector<uint8_t>& values) { Numbers(kUint8, values); }
  void Value(const std::vector<int32_t>& values) { Numbers(kInt32, values); }
  void Value(const std::vector<uint32_t>& values) { Numbers(kUint32, values); }
  void Value(const std::vector<float>& values) { Numbers(kFloat32, values); }
  void Value(const std::vector<bool>& values) {
    Array(kBool, values.size());
    for (const bool value : values) Number(static_cast<uint8_t>(value));
  }
  void Value(const std::vector<std::string>& values) {
    Array(kString, values.size());
    for (const std::string& value : values) Text(value);
  }

  const std::string& bytes() const { return bytes_; }

 private:
  template <typename T>
  void Scalar(ValueType type, T value) {
    Number<uint32_t>(type);
    Number(value);
  }
  void Array(ValueType type, size_t size) {
    Number<uint32_t>(kArray);
    Number<uint32_t>(type);
    Number(static_cast<uint64_t>(size));
  }
  template <typename T>
  void Numbers(ValueType type, const std::vector<T>& values) {
    Array(type, values.size());
    for (const T value : values) Number(value);
  }

  std::string bytes_;
};

absl::Status CheckSpec(const std::string& path, const GgufSpec& spec) {
  const bool has_shape = !spec.shape.empty() && spec.shape.size() <= kMaxDims &&
                         *std::min_element(spec.shape.begin(), spec.shape.end()) > 0;
  if (has_shape && spec.name.size() <= kMaxTensorName) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": tensor '", spec.name, "' of shape [",
                                                 absl::StrJoin(spec.shape, ", "),
                                                 "] has no place in a GGUF file"));
}

}  // namespace

int64_t GgufSpec::num_bytes() const {
  int64_t bytes = dtype == GgufDType::kF32 ? 4 : 2;
  for (const int64_t size : shape) bytes *= size;
  return bytes;
}

namespace {

// A link that leads nowhere has the name, too.
absl::Status CheckIsNew(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
    return absl::OkStatus();
  }
  return absl::AlreadyExistsError(absl::StrCat(path, ": exists; choose another name or remove it"));
}

}  // namespace

absl::StatusOr<GgufWriter> GgufWriter::Create(const std::string& path, const GgufMetadata& metadata,
                                              std::vector<GgufSpec> specs) {
  RETURN_IF_ERROR(CheckIsNew(path));
  std::set<absl::string_view> names;
  Head head;
  head.Raw(kMagic);
  head.Number(kVersion);
  head.Number(static_cast<uint64_t>(specs.size()));
  head.Number(static_cast<uint64_t>(metadata.size()));
  for (const auto& [key, value] : metadata) {
    if (!names.insert(key).second) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": key '", key, "' is given twice"));
    }
    if (const auto* text = std::get_if<std::string>(&value);
        text != nullptr && Utf8PrefixLength(*text) != text->size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": the value of key '", key, "' is not UTF-8"));
    }
    head.Text(key);
    std::visit([&](const auto& v) { head.Value(v); }, value);
  }
  names.clear();
  uint64_t offset = 0;
  for (const GgufSpec& spec : specs) {
    RETURN_IF_ERROR(CheckSpec(path, spec));
    if (!names.insert(spec.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor '", spec.name, "' is declared twice"));
    }
    head.Text(spec.name);
    head.Number(static_cast<uint32_t>(spec.shape.size()));
    for (size_t i = spec.shape.size(); i > 0; --i) {
      head.Number(static_cast<uint64_t>(spec.shape[i - 1]));
    }
    head.Number(static_cast<uint32_t>(spec.dtype));
    head.Number(offset);
    offset = Aligned(offset + static_cast<uint64_t>(spec.num_bytes()));
  }
  ASSIGN_OR_RETURN(Output output, ClaimFile(path));
  RETURN_IF_ERROR(CheckIsNew(path));  // another process may have written it meanwhile
  GgufWriter writer(std::move(output));
  const std::string& temporary = writer.output_.temporary();
  writer.fd_ =
      FileDescriptor(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (writer.fd_.get() < 0) return ErrnoStatus(errno, "cannot create", temporary);
  RETURN_IF_ERROR(writer.Append(head.bytes().data(), head.bytes().size()));
  RETURN_IF_ERROR(writer.Pad());
  writer.specs_ = std::move(specs);
  return writer;
}

absl::Status GgufWriter::Append(const void* bytes, size_t num_bytes) {
  const char* at = static_cast<const char*>(bytes);
  while (num_bytes > 0) {
    const ssize_t put = write(fd_.get(), at, num_bytes);
    if (put < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "cannot write", output_.temporary());
    }
    at += put;
    num_bytes -= static_cast<size_t>(put);
    num_bytes_ += static_cast<uint64_t>(put);
  }
  return absl::OkStatus();
}

absl::Status GgufWriter::Pad() {
  static constexpr std::array<char, kAlignment> kZeros = {};
  return Append(kZeros.data(), Aligned(num_bytes_) - num_bytes_);
}

absl::Status GgufWriter::Write(const std::string& name, const void* bytes, size_t num_bytes) {
  const bool is_next = num_tensors_ < specs_.size() && specs_[num_tensors_].name == name;
  if (!is_next || static_cast<uint64_t>(specs_[num_tensors_].num_bytes()) != num_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        output_.path(), ": tensor '", name, "' of ", num_bytes, " bytes is not the next one: ",
        num_tensors_ < specs_.size() ? absl::StrCat("'", specs_[num_tensors_].name, "' of ",
                                                    specs_[num_tensors_].num_bytes(), " bytes is")
                                     : "all are written"));
  }
  RETURN_IF_ERROR(Append(bytes, num_bytes));
  RETURN_IF_ERROR(Pad());
  ++num_tensors_;
  return absl::OkStatus();
}

absl::Status GgufWriter::Finish() {
  if (num_tensors_ < specs_.size()) {
    return absl::FailedPreconditionError(absl::StrCat(
        output_.path(), ": tensor '", specs_[num_tensors_].name, "' was never written"));
  }
  if (fd_.Close() != 0) return ErrnoStatus(errno, "cannot write", output_.temporary());
  return output_.Commit();
}

}  // namespace wyvern
