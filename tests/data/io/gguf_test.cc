#include "data/io/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/file.h"

namespace wyvern {
namespace {

class GgufTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "gguf_test_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    path_ = folder_ + "/model.gguf";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  std::string folder_, path_;
};

template <typename T>
std::string Bytes(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}
std::string U32(uint32_t value) { return Bytes(value); }
std::string U64(uint64_t value) { return Bytes(value); }
std::string Text(const std::string& text) { return U64(text.size()) + text; }

// Written by hand from the format's description.
TEST_F(GgufTest, TheBytesAreTheFormats) {
  const std::vector<float> matrix = {1, 2, 3, 4, 5, 6};
  const std::vector<uint16_t> vector = {0x3c00, 0x4000, 0xbc00};
  auto writer = GgufWriter::Create(path_,
                                   {{"general.architecture", std::string("llama")},
                                    {"llama.block_count", uint32_t{2}},
                                    {"llama.eps", 0.5F},
                                    {"add", true},
                                    {"bytes", std::vector<uint8_t>{7, 255}},
                                    {"types", std::vector<int32_t>{1, -6}},
                                    {"counts", std::vector<uint32_t>{3}},
                                    {"scores", std::vector<float>{-1.5F}},
                                    {"layers", std::vector<bool>{true, false}},
                                    {"tokens", std::vector<std::string>{"a",
                                                                        "\xc4\xa0"
                                                                        "b"}}},
                                   {{"w", GgufDType::kF32, {2, 3}}, {"b", GgufDType::kF16, {3}}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(writer->Write("w", matrix.data(), 24).ok());
  ASSERT_TRUE(writer->Write("b", vector.data(), 6).ok());
  ASSERT_TRUE(writer->Finish().ok());

  std::string expected = "GGUF" + U32(3) + U64(2) + U64(10);
  expected += Text("general.architecture") + U32(8) + Text("llama");
  expected += Text("llama.block_count") + U32(4) + U32(2);
  expected += Text("llama.eps") + U32(6) + Bytes(0.5F);
  expected += Text("add") + U32(7) + '\1';
  expected += Text("bytes") + U32(9) + U32(0) + U64(2) + "\x07\xff";
  expected += Text("types") + U32(9) + U32(5) + U64(2) + U32(1) + Bytes(int32_t{-6});
  expected += Text("counts") + U32(9) + U32(4) + U64(1) + U32(3);
  expected += Text("scores") + U32(9) + U32(6) + U64(1) + Bytes(-1.5F);
  expected += Text("layers") + U32(9) + U32(7) + U64(2) + '\1' + '\0';
  expected += Text("tokens") + U32(9) + U32(8) + U64(2) + Text("a") +
              Text(
                  "\xc4\xa0"
                  "b");
  expected += Text("w") + U32(2) + U64(3) + U64(2) + U32(0) + U64(0);
  expected += Text("b") + U32(1) + U64(3) + U32(1) + U64(32);
  expected.resize((expected.size() + 31) / 32 * 32);
  for (const float x : matrix) expected += Bytes(x);
  expected.append(8, '\0');
  for (const uint16_t x : vector) expected += Bytes(x);
  expected.append(26, '\0');
  EXPECT_EQ(*ReadFile(path_), expected);
  EXPECT_EQ(Files(), std::vector<std::string>{"model.gguf"});
}

TEST_F(GgufTest, AnUnfinishedFileLeavesNothing) {
  {
    auto writer = GgufWriter::Create(path_, {}, {{"w", GgufDType::kF32, {2}}});
    ASSERT_TRUE(writer.ok()) << writer.status();
    EXPECT_FALSE(std::filesystem::exists(path_));
    const absl::Status finished = writer->Finish();
    EXPECT_TRUE(absl::StrContains(finished.message(), "'w' was never written")) << finished;
  }
  EXPECT_TRUE(Files().empty());
}

TEST_F(GgufTest, WhatIsThereStays) {
  ASSERT_TRUE(WriteFileAtomically(path_, "mine").ok());
  const absl::Status file = GgufWriter::Create(path_, {}, {}).status();
  EXPECT_TRUE(absl::IsAlreadyExists(file)) << file;
  EXPECT_EQ(*ReadFile(path_), "mine");
  EXPECT_TRUE(absl::IsAlreadyExists(GgufWriter::Create(folder_, {}, {}).status()));
  const std::string link = folder_ + "/link";
  std::filesystem::create_symlink("nowhere", link);
  EXPECT_TRUE(absl::IsAlreadyExists(GgufWriter::Create(link, {}, {}).status()));
  const absl::Status bytes =
      GgufWriter::Create(folder_ + "/new", {{"a", std::string("\xff")}}, {}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(bytes));
  EXPECT_TRUE(absl::StrContains(bytes.message(), "the value of key 'a' is not UTF-8")) << bytes;
}

TEST_F(GgufTest, DeclarationsAndTensorsThatDoNotFit) {
  const GgufSpec spec = {"w", GgufDType::kBf16, {2, 2}};
  const auto refusal = [&](const GgufMetadata& metadata, std::vector<GgufSpec> specs) {
    return std::string(GgufWriter::Create(path_, metadata, std::move(specs)).status().message());
  };
  EXPECT_TRUE(absl::StrContains(refusal({{"k", true}, {"k", false}}, {}), "'k' is given twice"));
  EXPECT_TRUE(absl::StrContains(refusal({}, {spec, spec}), "'w' is declared twice"));
  EXPECT_TRUE(absl::StrContains(refusal({}, {{"s", GgufDType::kF32, {}}}), "'s' of shape []"));
  EXPECT_TRUE(absl::StrContains(refusal({}, {{"z", GgufDType::kF32, {0}}}), "'z' of shape [0]"));
  EXPECT_TRUE(absl::StrContains(refusal({}, {{std::string(64, 'n'), GgufDType::kF32, {1}}}),
                                "has no place"));
  auto writer = GgufWriter::Create(path_, {}, {spec});
  ASSERT_TRUE(writer.ok()) << writer.status();
  const std::vector<uint16_t> values(4);
  EXPECT_TRUE(absl::StrContains(writer->Write("w", values.data(), 6).message(),
                                "'w' of 6 bytes is not the next one: 'w' of 8 bytes is"));
  EXPECT_TRUE(absl::IsInvalidArgument(writer->Write("v", values.data(), 8)));
  EXPECT_TRUE(writer->Write("w", values.data(), 8).ok());
  EXPECT_TRUE(absl::StrContains(writer->Write("w", values.data(), 8).message(), "all are written"));
  EXPECT_TRUE(writer->Finish().ok());
}

}  // namespace
}  // namespace wyvern
