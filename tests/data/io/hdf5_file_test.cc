#include "data/io/hdf5_file.h"

#include <sys/resource.h>

#include <csignal>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class Hdf5FileTest : public DataTest {};

template <typename T>
void RoundTrip(Hdf5File* file, const std::string& name) {
  std::vector<T> values;
  for (int i = 0; i < 24; ++i) values.push_back(static_cast<T>(i * 7));
  ASSERT_TRUE(file->Write<T>(name, {2, 3, 4}, values.data()).ok());
  const auto info = file->Describe(name);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->type, Hdf5TypeOf<T>());
  EXPECT_EQ(info->shape, (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ(*file->Read<T>(name), values);
  std::vector<T> row(12);
  ASSERT_TRUE(file->ReadSlice(name, Hdf5TypeOf<T>(), 1, 1, row.data()).ok());
  EXPECT_EQ(row, std::vector<T>(values.begin() + 12, values.end()));
}

TEST_F(Hdf5FileTest, EveryTypeComesBack) {
  auto file = Hdf5File::Create(Path("a.h5"));
  ASSERT_TRUE(file.ok());
  RoundTrip<uint8_t>(&*file, "u8");
  RoundTrip<uint16_t>(&*file, "deep/er/u16");
  RoundTrip<uint32_t>(&*file, "u32");
  RoundTrip<int32_t>(&*file, "i32");
  RoundTrip<int64_t>(&*file, "i64");
  RoundTrip<float>(&*file, "f32");
  RoundTrip<double>(&*file, "f64");
  const double scalar = 2.5;
  ASSERT_TRUE(file->Write<double>("scalar", {}, &scalar).ok());
  ASSERT_TRUE(file->Write<double>("empty", {0, 3}, nullptr).ok());
  ASSERT_TRUE(file->Close().ok());

  auto again = Hdf5File::OpenReadOnly(Path("a.h5"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again->Read<double>("scalar"), std::vector<double>{2.5});
  EXPECT_TRUE(again->Read<double>("empty")->empty());
  EXPECT_EQ(*again->List("/"), (std::vector<std::string>{"deep", "empty", "f32", "f64", "i32",
                                                         "i64", "scalar", "u32", "u8"}));
  EXPECT_EQ(*again->List("deep/er"), std::vector<std::string>{"u16"});
  EXPECT_TRUE(again->Exists("deep/er/u16"));
  EXPECT_FALSE(again->Exists("deep/er/u17"));
}

TEST_F(Hdf5FileTest, GrowsByAppendingAndTakesSlices) {
  auto file = Hdf5File::Create(Path("a.h5"));
  ASSERT_TRUE(file->CreateGrowing("grow", Hdf5Type::kInt64, 4).ok());
  std::vector<int64_t> expected;
  for (int64_t i = 0; i < 5; ++i) {
    const std::vector<int64_t> values = {i, i * i, -i};
    ASSERT_TRUE(file->Append("grow", Hdf5Type::kInt64, 3, values.data()).ok());
    expected.insert(expected.end(), values.begin(), values.end());
  }
  EXPECT_EQ(*file->Read<int64_t>("grow"), expected);
  ASSERT_TRUE(file->CreateDataset("fixed", Hdf5Type::kFloat32, {4, 2}).ok());
  for (int64_t row = 0; row < 4; ++row) {
    const std::vector<float> values = {static_cast<float>(row), 0.5f};
    ASSERT_TRUE(file->WriteSlice("fixed", Hdf5Type::kFloat32, row, 1, values.data()).ok());
  }
  EXPECT_EQ(*file->Read<float>("fixed"), (std::vector<float>{0, 0.5, 1, 0.5, 2, 0.5, 3, 0.5}));
}

TEST_F(Hdf5FileTest, Attributes) {
  auto file = Hdf5File::Create(Path("a.h5"));
  ASSERT_TRUE(file->CreateGroup("group").ok());
  const std::string text = "Überschrift, with\na second line";
  ASSERT_TRUE(file->SetAttribute("/", "text", text).ok());
  ASSERT_TRUE(file->SetAttribute("/", "empty", std::string()).ok());
  ASSERT_TRUE(file->SetAttribute("group", "count", int64_t{-5}).ok());
  ASSERT_TRUE(file->SetAttribute("group", "count", int64_t{1} << 40).ok());
  ASSERT_TRUE(file->SetAttribute("group", "rate", 0.1).ok());
  EXPECT_EQ(*file->GetString("/", "text"), text);
  EXPECT_EQ(*file->GetString("/", "empty"), "");
  EXPECT_EQ(*file->GetInt("group", "count"), int64_t{1} << 40);
  EXPECT_EQ(*file->GetDouble("group", "rate"), 0.1);
  EXPECT_FALSE(file->GetInt("/", "text").ok());
  EXPECT_FALSE(file->SetAttribute("/", "long", std::string(70000, 'x')).ok());
}

TEST_F(Hdf5FileTest, ErrorsNameFileAndObject) {
  auto file = Hdf5File::Create(Path("a.h5"));
  ASSERT_TRUE(file->Write<float>("weights", {2}, std::vector<float>{1, 2}.data()).ok());
  for (const absl::Status& status :
       {file->Read<float>("missing").status(), file->Read<double>("weights").status(),
        file->ReadSlice("weights", Hdf5Type::kFloat32, 1, 2, nullptr),
        file->CreateDataset("weights", Hdf5Type::kFloat32, {2}), file->List("nowhere").status(),
        file->GetString("weights", "missing").status()}) {
    EXPECT_FALSE(status.ok());
    EXPECT_TRUE(absl::StrContains(status.message(), "a.h5")) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "weights") ||
                absl::StrContains(status.message(), "missing") ||
                absl::StrContains(status.message(), "nowhere"))
        << status;
  }
  EXPECT_FALSE(Hdf5File::Create(Path("no/such/folder.h5")).ok());
}

TEST_F(Hdf5FileTest, ThreadsMayUseFilesAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this, i] {
      auto file = Hdf5File::Create(Path(absl::StrCat(i, ".h5")));
      for (int n = 0; n < 30; ++n) {
        const std::vector<int64_t> values(100, i * 1000 + n);
        EXPECT_TRUE(file->Write<int64_t>(absl::StrCat("d", n), {100}, values.data()).ok());
        EXPECT_EQ(*file->Read<int64_t>(absl::StrCat("d", n)), values);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A limit on file sizes stands in for a full disk: the write fails in the same place, with EFBIG.
[[noreturn]] void WriteBeyondTheLimit(const std::string& path) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {1 << 20, 1 << 20};
  setrlimit(RLIMIT_FSIZE, &limit);
  absl::Status status;
  {
    auto file = Hdf5File::Create(path);
    const std::vector<float> values(1 << 20, 1.0f);
    status = file->Write<float>("w", {1 << 20}, values.data());
    status.Update(file->Close());
  }
  std::exit(status.ok() ? 1 : 7);  // runs the library's own clean-up, too
}

TEST_F(Hdf5FileTest, AWriteThatFailsIsAnErrorAndNotACrash) {
  EXPECT_EXIT(WriteBeyondTheLimit(Path("a.h5")), testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace wyvern
