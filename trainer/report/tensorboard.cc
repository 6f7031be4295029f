#include "trainer/report/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "data/io/file.h"
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

uint32_t MaskedCrc(absl::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <typename T>
void AppendFixed(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

constexpr absl::string_view kFilePrefix = "events.out.tfevents.";

// The time of the last whole record of an event file, 0 without one.
double LastWallTime(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  double last = 0;
  uint64_t size = 0;
  uint32_t crc = 0;
  // A record: size, its checksum, the event, its checksum. An event begins with its time.
  while (file.read(reinterpret_cast<char*>(&size), sizeof(size)) &&
         file.read(reinterpret_cast<char*>(&crc), sizeof(crc))) {
    std::string header;
    AppendFixed(&header, size);
    char event[1 + sizeof(double)];
    if (crc != MaskedCrc(header) || size < sizeof(event) || !file.read(event, sizeof(event))) break;
    double time = 0;
    std::memcpy(&time, event + 1, sizeof(time));
    if (event[0] == ((kEventWallTime << 3) | 1) && std::isfinite(time)) last = std::max(last, time);
    file.seekg(static_cast<std::streamoff>(size - sizeof(event) + sizeof(crc)), std::ios::cur);
  }
  return last;
}

// The first second, from `now` on, that lies behind all that the folder's files say.
int64_t FirstSecond(const std::string& folder, double now) {
  auto seconds = static_cast<int64_t>(now);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    absl::string_view digits = name;
    int64_t time = 0;
    // Names with more or fewer digits are no times of this writer, nor in the order of time.
    if (!absl::ConsumePrefix(&digits, kFilePrefix) || digits.find('.') != 10 ||
        !absl::SimpleAtoi(digits.substr(0, 10), &time)) {
      continue;
    }
    const double last = LastWallTime(entry.path().string());
    seconds = std::max(seconds, time + 1);
    if (last < 1e10) seconds = std::max(seconds, static_cast<int64_t>(last) + 1);
  }
  return seconds;
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
  // seconds. An earlier part of the run may have had a clock that was ahead.
  const double now = Now();
  const int64_t seconds = FirstSecond(folder, now);
  const double ahead = std::max(0.0, static_cast<double>(seconds) - now);
  for (int n = 0;; ++n) {
    const std::string path =
        absl::StrFormat("%s/%s%010d.%s.%04d", folder, kFilePrefix, seconds, host, n);
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return ErrnoStatus(errno, "cannot create", path);
    std::unique_ptr<TensorBoardWriter> writer(new TensorBoardWriter(path, fd, ahead));
    Message version;
    version.Double(kEventWallTime, writer->WallTime());
    version.Bytes(kEventFileVersion, "brain.Event:2");
    RETURN_IF_ERROR(writer->WriteRecord(version.bytes()));
    if (first_step > 0) {
      Message log;
      log.Varint(kSessionLogStatus, kSessionStart);
      Message event;
      event.Double(kEventWallTime, writer->WallTime());
      event.Varint(kEventStep, static_cast<uint64_t>(first_step));
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
  Message event;
  event.Double(kEventWallTime, WallTime());
  event.Varint(kEventStep, static_cast<uint64_t>(step));
  event.Bytes(kEventSummary, summary.bytes());
  return WriteRecord(event.bytes());
}

double TensorBoardWriter::WallTime() {
  last_time_ = std::max(last_time_, Now() + ahead_);
  return last_time_;
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
