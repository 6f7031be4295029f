// Tests of what a killed writer, a failing disk and a full disk leave behind.
#include <sys/mount.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/file_size_limit.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/checkpoint/manifest.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

using Strings = std::set<std::string>;

class CheckpointDamageTest : public CheckpointTest {
 protected:
  void Write(int64_t step) {
    const absl::Status status = WriteCheckpoint(Run(), step, SomeTensors(step), {}, 0);
    ASSERT_TRUE(status.ok()) << status;
  }
  int64_t NewestStep() const {
    const auto newest = FindNewestCheckpoint(Run());
    return newest.ok() ? newest->step : -1;
  }
};

TEST_F(CheckpointDamageTest, WhatAKilledWriterLeftIsNeverReadAndIsRemoved) {
  Write(1);
  Write(2);
  // Killed before the rename, even with everything written, and while deleting.
  fs::copy(Step(2), Path("run/checkpoints/.tmp-step_00000003-77"));
  fs::copy(Step(1), Path("run/checkpoints/.doomed-step_00000000-77-1790000000000000000"));
  fs::copy(Step(1), Path("run/checkpoints/.tmp-step_good-77"));  // not ours
  EXPECT_EQ(NewestStep(), 2);
  EXPECT_EQ(ListCheckpoints(Run())->size(), 2u);
  Write(4);
  EXPECT_EQ(Folders(),
            (Strings{".tmp-step_good-77", "step_00000001", "step_00000002", "step_00000004"}));
}

TEST_F(CheckpointDamageTest, OnlyFoldersOfExactlyARunsNamesAreItsOwn) {
  for (const int64_t step : {1, 2, 3}) Write(step);
  // People give such names to a checkpoint that they want to keep.
  const Strings others = {"step_00000003_good", "step_00000003.bak", "step_3", "step_000000003",
                          "Step_00000003",      "step_0000000x",     "old"};
  for (const std::string& name : others) fs::copy(Step(3), Path("run/checkpoints/" + name));
  fs::create_directory_symlink(Step(3), Step(7));
  WriteText("run/checkpoints/step_00000008", "a file");
  EXPECT_EQ(ListCheckpoints(Run())->size(), 3u);
  EXPECT_EQ(NewestStep(), 3);
  EXPECT_TRUE(FindNewestCheckpoint(Run())->passed_over.empty());
  ASSERT_TRUE(WriteCheckpoint(Run(), 4, SomeTensors(4), {}, 1).ok());
  Strings expected = others;
  expected.insert({"step_00000004", "step_00000007", "step_00000008"});
  EXPECT_EQ(Folders(), expected);
  EXPECT_EQ(StepOfFolderName("step_00000012"), 12);
  EXPECT_EQ(StepOfFolderName("step_123456789"), 123456789);
}

TEST_F(CheckpointDamageTest, WhatIsPassedOverIsNamedWithTheReason) {
  for (const int64_t step : {1, 2, 3, 4}) Write(step);
  fs::rename(Step(4), Step(9));  // holds another step than it says
  fs::resize_file(Step(3) + "/shard-00000.h5", 100);
  fs::remove(Step(1) + "/manifest.json");
  const auto newest = FindNewestCheckpoint(Run());
  ASSERT_TRUE(newest.ok());
  EXPECT_EQ(newest->step, 2);
  ASSERT_EQ(newest->passed_over.size(), 2u);  // the first one is older
  EXPECT_TRUE(absl::StartsWith(newest->passed_over[0],
                               absl::StrCat("passed over ", Step(3), ": the shard shard-00000.h5")))
      << newest->passed_over[0];
  EXPECT_EQ(newest->passed_over[1],
            absl::StrCat("passed over ", Step(9), ": what it holds is of step 4"));
  EXPECT_EQ(OpenCheckpoint(Run())->passed_over, newest->passed_over);
  std::vector<std::string> damaged;
  EXPECT_EQ(ListCheckpoints(Run(), &damaged)->size(), 1u);
  EXPECT_EQ(damaged.size(), 3u);
}

TEST_F(CheckpointDamageTest, IncompleteFoldersArePassedOver) {
  for (const int64_t step : {1, 2, 3, 4, 5}) Write(step);
  fs::remove(Step(5) + "/manifest.json");
  EXPECT_TRUE(absl::IsDataLoss(OpenCheckpoint(Step(5)).status()));
  EXPECT_EQ(NewestStep(), 4);
  fs::resize_file(Step(4) + "/manifest.json", fs::file_size(Step(4) + "/manifest.json") - 1);
  EXPECT_EQ(NewestStep(), 3);
  fs::remove(Step(3) + "/shard-00000.h5");
  EXPECT_EQ(NewestStep(), 2);
  fs::resize_file(Step(2) + "/shard-00000.h5", fs::file_size(Step(2) + "/shard-00000.h5") - 1);
  EXPECT_EQ(NewestStep(), 1);
  EXPECT_FALSE(ReadCheckpoint(Step(2), EmptyLike(SomeTensors())).ok());
  fs::resize_file(Step(1) + "/manifest.json", 10);
  const absl::Status none = FindNewestCheckpoint(Run()).status();
  EXPECT_TRUE(absl::IsNotFound(none));
  EXPECT_TRUE(absl::StrContains(none.message(), "incomplete or damaged: 5")) << none;
}

TEST_F(CheckpointDamageTest, EveryFlippedByteOfTheManifestIsFound) {
  Write(1);
  const std::string path = Step(1) + "/manifest.json";
  const auto size = static_cast<size_t>(fs::file_size(path));
  for (size_t i = 0; i < size; ++i) {
    FlipByte(path, i);
    EXPECT_TRUE(absl::IsDataLoss(OpenCheckpoint(Step(1)).status())) << "byte " << i;
    FlipByte(path, i);
  }
  EXPECT_TRUE(OpenCheckpoint(Step(1)).ok());
}

// A byte of the shard may also belong to no tensor and no structure (alignment); then the
// checkpoint must read back as it was written.
TEST_F(CheckpointDamageTest, NoFlippedByteOfAShardChangesWhatIsRead) {
  const std::vector<NamedTensor> tensors = {
      {"model/a", Filled({6, 8}, DType::kFloat32, 1)},
      {"model/b", Filled({40}, DType::kBf16, 2)},
  };
  ASSERT_TRUE(WriteCheckpoint(Run(), 1, tensors, {}, 0).ok());
  const std::string path = Step(1) + "/shard-00000.h5";
  std::string content = *ReadFile(path);
  std::vector<size_t> data;  // offsets of the tensors' own bytes
  for (const NamedTensor& t : tensors) {
    const std::string bytes(static_cast<const char*>(t.tensor.raw()), t.tensor.nbytes());
    const size_t at = content.find(bytes);
    ASSERT_NE(at, std::string::npos);
    for (size_t i = 0; i < bytes.size(); ++i) data.push_back(at + i);
  }
  for (const size_t offset : data) {
    FlipByte(path, offset);
    const absl::Status status = VerifyCheckpoint(Step(1));
    EXPECT_TRUE(absl::IsDataLoss(status)) << "byte " << offset;
    EXPECT_TRUE(absl::StrContains(status.message(), "'model/")) << status;
    FlipByte(path, offset);
  }
  for (size_t offset = 0; offset < content.size(); offset += 3) {
    FlipByte(path, offset);
    const std::vector<NamedTensor> into = EmptyLike(tensors);
    if (ReadCheckpoint(Step(1), into).ok()) {
      for (size_t i = 0; i < tensors.size(); ++i) {
        EXPECT_TRUE(SameBytes(into[i].tensor, tensors[i].tensor)) << "byte " << offset;
      }
    }
    FlipByte(path, offset);
  }
  EXPECT_TRUE(VerifyCheckpoint(Step(1)).ok());
}

TEST_F(CheckpointDamageTest, AnotherFormatVersionIsNotCalledDamage) {
  Manifest manifest{.step = 1};
  std::string text = ManifestToText(manifest);
  const size_t at = text.find("\"format_version\": 1");
  ASSERT_NE(at, std::string::npos);
  text[at + 18] = '2';
  const size_t line = text.find('\n') + 1;
  char crc[9];
  std::snprintf(crc, sizeof(crc), "%08x", Crc32(text.data() + line, text.size() - line));
  text.replace(text.find(": \"") + 3, 8, crc);
  const absl::Status status = ManifestFromText(text, "m").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "found 2")) << status;
}

TEST_F(CheckpointDamageTest, AWriteErrorLeavesTheOldCheckpoints) {
  Write(1);
  const std::vector<NamedTensor> large = {{"x", Filled({100000}, DType::kFloat32, 1)}};
  for (const rlim_t bytes : {0, 100, 5000, 200000}) {
    absl::Status status;
    {
      const FileSizeLimit limit(bytes);
      status = WriteCheckpoint(Run(), 2, large, {}, 1);
    }
    EXPECT_FALSE(status.ok()) << bytes;
    EXPECT_TRUE(absl::StrContains(status.message(), "was not written")) << status;
    EXPECT_EQ(Folders(), Strings{"step_00000001"}) << bytes;
  }
  ExpectHolds(Run(), SomeTensors(1));
  Write(2);  // the failures have left nothing behind in the process either
  ExpectHolds(Step(2), SomeTensors(2));
}

// A small file system on a folder, while this lives.
class SmallDisk {
 public:
  explicit SmallDisk(std::string path) : path_(std::move(path)) {
    fs::create_directory(path_);
    mounted_ = mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=1m") == 0;
  }
  ~SmallDisk() {
    // Detached, since HDF5 keeps the descriptor of a file that it could not finish.
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  std::string path_;
  bool mounted_;
};

TEST_F(CheckpointDamageTest, AFullDiskLeavesTheOldCheckpointsAndSaysSo) {
  const SmallDisk disk(Run());
  if (!disk.mounted()) GTEST_SKIP() << "this process may not mount a small file system";
  Write(1);
  // Larger than what is free; and just as large, so that only what HDF5 adds does not fit.
  const auto free_bytes = static_cast<int64_t>(fs::space(Run()).available);
  for (const int64_t bytes : {free_bytes + 1, free_bytes}) {
    const absl::Status status =
        WriteCheckpoint(Run(), 2, {{"x", Filled({bytes}, DType::kUint8, 1)}}, {}, 1);
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "free some space")) << status;
    EXPECT_EQ(Folders(), Strings{"step_00000001"});
    ExpectHolds(Run(), SomeTensors(1));
  }
  Write(2);
  EXPECT_EQ(NewestStep(), 2);
}

}  // namespace
}  // namespace wyvern
