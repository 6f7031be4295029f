#include "trainer/report/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/file.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Protocol buffers' wire format: fields in the order they are added.
class Message {
 public:
  void Varint(int field, uint64_t value) {
    Tag(field, 0);
    Raw(value);
  }
  void Double(int field, double value) {
    Tag(field, 1);
    Fixed(&value, sizeof(value));
  }
  void Float(int field, float value) {
    Tag(field, 5);
    Fixed(&value, sizeof(value));
  }
  void Bytes(int field, absl::string_view value) {
    Tag(field, 2);
    Raw(value.size());
    bytes_.append(value.data(), value.size());
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void Tag(int field, int wire_type) { Raw(static_cast<uint64_t>(field) << 3 | wire_type); }
  void Raw(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  // Little-endian, as every machine Wyvern runs on.
  void Fixed(const void* value, size_t size) {
    bytes_.append(static_cast<const char*>(value), size);
  }

  std::string bytes_;
};

// tensorflow/core/util/event.proto.
constexpr int kEventWallTime = 1, kEventStep = 2, kEventFileVersion = 3, kEventSummary = 5,
              kEventSessionLog = 7;
constexpr int kSummaryValue = 1, kValueTag = 1, kValueSimpleValue = 2;
constexpr int kSessionLogStatus = 1, kSessionStart = 1;

double Now() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since_epoch).count();
}

Message NewEvent(int64_t step) {
  Message event;
  event.Double(kEventWallTime, Now());
  event.Varint(kEventStep, static_cast<uint64_t>(step));
  return event;
}

uint32_t MaskedCrc(absl::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <typename T>
void AppendFixed(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

}  // namespace

uint32_t Crc32c(absl::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t;
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
      t[i] = crc;
    }
    return t;
  }();
  uint32_t crc = 0xffffffffu;
  for (const char c : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return ~crc;
}

absl::StatusOr<std::unique_ptr<TensorBoardWriter>> TensorBoardWriter::Create(
    const std::string& folder, int64_t first_step) {
  RETURN_IF_ERROR(MakeFolders(folder));
  char host[256] = "localhost";
  if (gethostname(host, sizeof(host) - 1) != 0) std::strcpy(host, "localhost");
  // Readers take a folder's files in the order of their names: the time comes first, in whole
  // seconds; the counter tells files of the same second apart.
  const int64_t seconds = static_cast<int64_t>(Now());
  for (int n = 0;; ++n) {
    const std::string path =
        absl::StrFormat("%s/events.out.tfevents.%010d.%s.%04d", folder, seconds, host, n);
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return ErrnoStatus(errno, "cannot create", path);
    std::unique_ptr<TensorBoardWriter> writer(new TensorBoardWriter(path, fd));
    Message version;
    version.Double(kEventWallTime, Now());
    version.Bytes(kEventFileVersion, "brain.Event:2");
    RETURN_IF_ERROR(writer->WriteRecord(version.bytes()));
    if (first_step > 0) {
      Message log;
      log.Varint(kSessionLogStatus, kSessionStart);
      Message event = NewEvent(first_step);
      event.Bytes(kEventSessionLog, log.bytes());
      RETURN_IF_ERROR(writer->WriteRecord(event.bytes()));
    }
    return writer;
  }
}

absl::Status TensorBoardWriter::AddScalars(
    int64_t step, const std::vector<std::pair<std::string, double>>& scalars) {
  Message summary;
  for (const auto& [tag, number] : scalars) {
    Message value;
    value.Bytes(kValueTag, tag);
    value.Float(kValueSimpleValue, static_cast<float>(number));
    summary.Bytes(kSummaryValue, value.bytes());
  }
  Message event = NewEvent(step);
  event.Bytes(kEventSummary, summary.bytes());
  return WriteRecord(event.bytes());
}

absl::Status TensorBoardWriter::WriteRecord(absl::string_view event) {
  std::string record;
  AppendFixed(&record, static_cast<uint64_t>(event.size()));
  AppendFixed(&record, MaskedCrc(record));
  record.append(event.data(), event.size());
  AppendFixed(&record, MaskedCrc(event));
  return file_.Append(record);
}

}  // namespace wyvern
