#include "trainer/report/tensorboard.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>

#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class TensorBoardTest : public DataTest {};

// A reader of its own: records with their checksums, and protobuf messages as (field, value) with
// the wire type's plain meaning.
struct Field {
  uint64_t varint = 0;
  double fixed64 = 0;
  float fixed32 = 0;
  std::string bytes;
};
using Message = std::multimap<int, Field>;

uint64_t TakeVarint(const std::string& s, size_t* at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<uint8_t>(s.at((*at)++));
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

Message Parse(const std::string& s) {
  Message message;
  for (size_t at = 0; at < s.size();) {
    const uint64_t tag = TakeVarint(s, &at);
    Field field;
    switch (tag & 7) {
      case 0:
        field.varint = TakeVarint(s, &at);
        break;
      case 1:
        std::memcpy(&field.fixed64, s.data() + at, 8);
        at += 8;
        break;
      case 2: {
        const uint64_t size = TakeVarint(s, &at);
        field.bytes = s.substr(at, size);
        at += size;
        break;
      }
      case 5:
        std::memcpy(&field.fixed32, s.data() + at, 4);
        at += 4;
        break;
      default:
        ADD_FAILURE() << "wire type " << (tag & 7);
        return message;
    }
    message.emplace(static_cast<int>(tag >> 3), field);
  }
  return message;
}

uint32_t Masked(const std::string& bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

std::vector<Message> ReadEvents(const std::string& path) {
  const std::string content = *ReadFile(path);
  std::vector<Message> events;
  size_t at = 0;
  while (at < content.size()) {
    uint64_t size = 0;
    uint32_t crc = 0;
    std::memcpy(&size, content.data() + at, 8);
    std::memcpy(&crc, content.data() + at + 8, 4);
    EXPECT_EQ(crc, Masked(content.substr(at, 8)));
    const std::string data = content.substr(at + 12, size);
    std::memcpy(&crc, content.data() + at + 12 + size, 4);
    EXPECT_EQ(crc, Masked(data));
    events.push_back(Parse(data));
    at += 16 + size;
  }
  EXPECT_EQ(at, content.size());
  return events;
}

const Field& Only(const Message& message, int field) {
  EXPECT_EQ(message.count(field), 1u) << "field " << field;
  return message.find(field)->second;
}

TEST_F(TensorBoardTest, ChecksumOfTheStandard) {  // RFC 3720, B.4
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(""), 0u);
}

TEST_F(TensorBoardTest, EventsReadBack) {
  auto writer = TensorBoardWriter::Create(Path("events"));
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->AddScalars(1, {{"train/loss", 10.5}, {"train/lr", 3e-4}}).ok());
  ASSERT_TRUE((*writer)->AddScalars(3000000000, {{"val/loss", NAN}}).ok());
  const std::vector<Message> events = ReadEvents((*writer)->path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(Only(events[0], 3).bytes, "brain.Event:2");
  EXPECT_GT(Only(events[0], 1).fixed64, 1.6e9);
  EXPECT_EQ(Only(events[1], 2).varint, 1u);
  const Message summary = Parse(Only(events[1], 5).bytes);
  ASSERT_EQ(summary.count(1), 2u);
  const Message loss = Parse(summary.find(1)->second.bytes);
  EXPECT_EQ(Only(loss, 1).bytes, "train/loss");
  EXPECT_EQ(Only(loss, 2).fixed32, 10.5f);
  EXPECT_EQ(Parse(std::next(summary.find(1))->second.bytes).find(2)->second.fixed32, 3e-4f);
  EXPECT_EQ(Only(events[2], 2).varint, 3000000000u);
  EXPECT_TRUE(std::isnan(Only(Parse(Only(Parse(Only(events[2], 5).bytes), 1).bytes), 2).fixed32));
}

TEST_F(TensorBoardTest, AResumedRunStartsAFileThatReplacesItsSteps) {
  std::vector<std::string> paths;
  for (const int64_t first : {0, 120, 130}) {
    auto writer = TensorBoardWriter::Create(Path("events"), first);
    ASSERT_TRUE(writer.ok()) << writer.status();
    paths.push_back((*writer)->path());
  }
  // Readers go by the order of names.
  EXPECT_LT(paths[0], paths[1]);
  EXPECT_LT(paths[1], paths[2]);
  EXPECT_EQ(ReadEvents(paths[0]).size(), 1u);
  const std::vector<Message> events = ReadEvents(paths[1]);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(Only(events[1], 2).varint, 120u);
  EXPECT_EQ(Only(Parse(Only(events[1], 7).bytes), 1).varint, 1u);  // SessionLog.START
}

// The first part of the run was on a host whose clock is ahead; it was killed in a record.
TEST_F(TensorBoardTest, ALaterFileLiesBehindEarlierOnesWhateverTheClocks) {
  auto writer = TensorBoardWriter::Create(Path("events"));
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->AddScalars(1, {{"train/loss", 1}}).ok());
  const std::string text = *ReadFile((*writer)->path());
  std::vector<Message> events = ReadEvents((*writer)->path());
  const double first = Only(events[1], 1).fixed64;
  // An hour ahead in its name, and an hour longer by its events.
  const auto moved = [&](double seconds) {
    std::string name = (*writer)->path();
    const size_t at = name.find("tfevents.") + 9;
    name.replace(at, 10, std::to_string(std::stoll(name.substr(at, 10)) + 3600));
    std::string event = text.substr(12 + 24 + 4 + 12);  // behind the version's record and a header
    event.resize(event.size() - 4);
    const double time = first + seconds;
    std::memcpy(event.data() + 1, &time, sizeof(time));
    uint64_t size = event.size();
    std::string header(reinterpret_cast<const char*>(&size), 8);
    const auto append = [](std::string* to, uint32_t crc) {
      to->append(reinterpret_cast<const char*>(&crc), 4);
    };
    std::string record = header;
    append(&record, Masked(header));
    record += event;
    append(&record, Masked(event));
    std::ofstream(name, std::ios::binary) << text << record << record.substr(0, 20);
    return name;
  };
  const std::string ahead = moved(7200);
  auto later = TensorBoardWriter::Create(Path("events"), 2);
  ASSERT_TRUE(later.ok()) << later.status();
  ASSERT_TRUE((*later)->AddScalars(2, {{"train/loss", 1}}).ok());
  EXPECT_GT((*later)->path(), ahead);
  events = ReadEvents((*later)->path());
  double last = first + 7200;
  for (const Message& event : events) {
    EXPECT_GE(Only(event, 1).fixed64, last);
    last = Only(event, 1).fixed64;
  }
  EXPECT_LT(last, first + 7300);
}

TEST_F(TensorBoardTest, AFolderThatCannotBeMadeIsAnError) {
  WriteText("file", "x");
  EXPECT_FALSE(TensorBoardWriter::Create(Path("file")).ok());
}

}  // namespace
}  // namespace wyvern
