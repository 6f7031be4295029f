#include "data/io/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "data/io/file.h"

namespace wyvern {
namespace {

class SafetensorsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "safetensors_test_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    path_ = folder_ + "/model.safetensors";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // A file of the given header and data.
  void Put(const std::string& header, const std::string& data) {
    std::string content(8, '\0');
    for (size_t i = 0; i < 8; ++i) content[i] = static_cast<char>(header.size() >> (8 * i));
    std::ofstream(path_, std::ios::binary) << content << header << data;
  }
  // The message of a failed Open; empty if it succeeded.
  std::string OpenError() {
    const auto reader = SafetensorsReader::Open(path_);
    return reader.ok() ? "" : std::string(reader.status().message());
  }

  std::string folder_, path_;
};

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

TEST_F(SafetensorsTest, ReadsBackWhatWasWrittenInAnyOrder) {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<int64_t> b = {-7};
  auto writer = SafetensorsWriter::Create(
      path_, {{"b", "I64", {1}}, {"a.weight", "F32", {2, 3}}, {"none", "BF16", {0, 4}}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_TRUE(writer->Write("a.weight", a.data(), a.size() * 4).ok());
  EXPECT_TRUE(writer->Write("b", b.data(), 8).ok());
  EXPECT_TRUE(writer->Write("none", nullptr, 0).ok());
  EXPECT_FALSE(std::filesystem::exists(path_)) << "visible before it is complete";
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(FilesIn(folder_).size(), 1u);

  const auto reader = SafetensorsReader::Open(path_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(reader->metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(reader->tensors().size(), 3u);
  EXPECT_EQ(reader->Find("a.weight")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(reader->Find("a.weight")->dtype, "F32");
  std::vector<float> a_again(6);
  ASSERT_TRUE(reader->Read("a.weight", a_again.data(), 24).ok());
  EXPECT_EQ(a_again, a);
  std::vector<int64_t> b_again(1);
  ASSERT_TRUE(reader->Read("b", b_again.data(), 8).ok());
  EXPECT_EQ(b_again, b);
  EXPECT_TRUE(absl::IsNotFound(reader->Read("c", b_again.data(), 8)));
  EXPECT_TRUE(absl::IsInvalidArgument(reader->Read("b", b_again.data(), 4)));

  const std::string content = *ReadFile(path_);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), 8);
  EXPECT_EQ(header_bytes % 8, 0u);
  EXPECT_EQ(content[8], '{');
}

TEST_F(SafetensorsTest, AnUnfinishedWriterLeavesTheOldFile) {
  Put("{}", "");
  {
    auto writer = SafetensorsWriter::Create(path_, {{"a", "F32", {2}}});
    ASSERT_TRUE(writer.ok());
    const float two[2] = {1, 2};
    EXPECT_FALSE(writer->Write("a", two, 4).ok());
    EXPECT_FALSE(writer->Write("b", two, 8).ok());
    const absl::Status unfinished = writer->Finish();
    EXPECT_NE(unfinished.message().find("'a' was never written"), std::string::npos) << unfinished;
    EXPECT_TRUE(writer->Write("a", two, 8).ok());
    EXPECT_FALSE(writer->Write("a", two, 8).ok()) << "written twice";
  }
  EXPECT_EQ(FilesIn(folder_).size(), 1u);
  EXPECT_EQ(OpenError(), "");
  EXPECT_FALSE(SafetensorsWriter::Create(path_, {{"a", "F31", {2}}}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(path_, {{"a", "F32", {2}}, {"a", "F32", {2}}}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(folder_ + "/absent/x", {}).ok());
}

TEST_F(SafetensorsTest, EveryTruncationIsAnError) {
  auto writer = SafetensorsWriter::Create(path_, {{"a", "F32", {2, 2}}, {"b", "U8", {3}}});
  ASSERT_TRUE(writer.ok());
  const float four[4] = {1, 2, 3, 4};
  ASSERT_TRUE(writer->Write("a", four, 16).ok());
  ASSERT_TRUE(writer->Write("b", four, 3).ok());
  ASSERT_TRUE(writer->Finish().ok());
  const std::string whole = *ReadFile(path_);
  for (size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    const auto reader = SafetensorsReader::Open(path_);
    ASSERT_TRUE(absl::IsDataLoss(reader.status())) << size << " bytes: " << reader.status();
    ASSERT_NE(reader.status().message().find(path_), absl::string_view::npos);
  }
  std::ofstream(path_, std::ios::binary | std::ios::trunc) << whole << 'x';
  EXPECT_NE(OpenError().find("the header speaks of 19 bytes of data, the file has 20"),
            std::string::npos)
      << OpenError();
}

TEST_F(SafetensorsTest, RefusesHeadersThatDoNotHoldTogether) {
  const std::string data(16, '\0');
  const auto tensor = [](const std::string& fields) { return "{\"a\":{" + fields + "}}"; };
  const struct {
    std::string header, message;
  } faults[] = {
      {"", "not a JSON object"},
      {"[1]", "not a JSON object"},
      {"{\"a\":", "not a JSON object"},
      {std::string("\xff\xfe\x00\x01", 4), "not a JSON object"},
      {"{\"a\":3}", "needs a dtype, a shape"},
      {tensor("\"dtype\":\"F32\",\"shape\":[4]"), "needs a dtype, a shape"},
      {tensor("\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]"), "needs a dtype"},
      {tensor("\"dtype\":\"F32\",\"shape\":[4.5],\"data_offsets\":[0,16]"), "needs a dtype"},
      {tensor("\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16,17]"), "needs a dtype"},
      {tensor("\"dtype\":\"F33\",\"shape\":[4],\"data_offsets\":[0,16]"), "dtype 'F33'"},
      {tensor("\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,16]"), "does not fill"},
      {tensor("\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]"), "does not fill"},
      {tensor("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],\"data_offsets\":[0,16]"),
       "does not fill"},
      {tensor("\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[0,32]"), "speaks of 32 bytes"},
      {tensor("\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[4,16]"), "away from"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
       "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
       "inside the one before"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
       "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
       "'a' stands twice"},
      {"{\"__metadata__\":{\"format\":1}}", "not a string"},
      {"{\"__metadata__\":[]}", "not a JSON object"},
      {"{\"a\":" + std::string(100'000, '['), "not a JSON object"},
      {"{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}", "needs a dtype"},
      {tensor("\"dtype\":\"F32\",\"shape\":[18446744073709551615],\"data_offsets\":[0,16]"),
       "needs a dtype"},
  };
  for (const auto& fault : faults) {
    Put(fault.header, data);
    EXPECT_NE(OpenError().find(fault.message), std::string::npos)
        << "header " << fault.header << " gave '" << OpenError() << "'";
  }
  std::ofstream(path_, std::ios::binary | std::ios::trunc) << std::string(16, '\xff');
  EXPECT_NE(OpenError().find("does not fit"), std::string::npos) << OpenError();
  std::filesystem::remove(path_);
  EXPECT_TRUE(absl::IsNotFound(SafetensorsReader::Open(path_).status()));
  EXPECT_FALSE(SafetensorsReader::Open(folder_).ok());
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_NE(OpenError().find("not a file"), std::string::npos) << OpenError();
}

}  // namespace
}  // namespace wyvern
