#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/hdf5_file.h"
#include "data/io/output.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/read.h"
#include "trainer/checkpoint/write.h"

namespace wyvern {
namespace {

using Strings = std::set<std::string>;

TEST_F(CheckpointTest, EveryByteAndTheMetaDataComeBack) {
  const nlohmann::json meta = {{"counters", {{"tokens", int64_t{1} << 53}, {"skipped", 2}}},
                               {"config", "model:\n  name: \"x\"\n"},
                               {"rate", 0.1}};
  const auto tensors = SomeTensors();
  ASSERT_TRUE(WriteCheckpoint(Run(), 12000, tensors, meta, 2).ok());
  ExpectHolds(Step(12000), tensors);
  ExpectHolds(Run(), tensors);
  EXPECT_TRUE(VerifyCheckpoint(Step(12000)).ok());

  const auto info = OpenCheckpoint(Step(12000));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->step, 12000);
  EXPECT_EQ(info->meta, meta);
  ASSERT_EQ(info->tensors.size(), tensors.size());
  EXPECT_EQ(info->tensors[2].name, "model/half");
  EXPECT_EQ(info->tensors[2].dtype, DType::kBf16);
  EXPECT_EQ(info->tensors[2].shape, (Shape{3, 2, 2}));
  EXPECT_EQ(Folders(), Strings{"step_00012000"});
}

TEST_F(CheckpointTest, LargeTensorsAreCutByRowsAndShardsBySize) {
  const auto tensors = SomeTensors();
  ASSERT_TRUE(WriteCheckpoint(Run(), 1, tensors, {}, 0, {.max_shard_bytes = 48}).ok());
  EXPECT_TRUE(std::filesystem::exists(Step(1) + "/shard-00003.h5"));
  const auto manifest = ReadManifest(Step(1));
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->tensors[0].slices.size(), 4u);  // 7 rows of 20 bytes, two to a shard
  EXPECT_EQ(manifest->tensors[0].slices[3].start, (Shape{6, 0}));
  EXPECT_EQ(manifest->tensors[0].slices[3].size, (Shape{1, 5}));
  ExpectHolds(Step(1), tensors);
}

// A run on several processes writes such a matrix, in blocks along both axes.
TEST_F(CheckpointTest, ATensorInBlocksIsPutTogether) {
  const std::string folder = Step(3);
  ASSERT_TRUE(MakeFolders(folder).ok());
  const Tensor whole = Tensor::Empty({3, 4, 2}, DType::kInt32, Device::kCpu);
  for (int i = 0; i < 24; ++i) whole.data<int32_t>()[i] = 100 + i;
  Manifest manifest{.step = 3};
  manifest.tensors.push_back({{"x", whole.shape(), whole.dtype()}, {}});
  for (const int64_t row : {0, 2}) {
    for (const int64_t column : {0, 1}) {
      const Shape start = {row, column == 0 ? 0 : 3, 0};
      const Shape size = {row == 0 ? 2 : 1, column == 0 ? 3 : 1, 2};
      std::vector<int32_t> block;
      for (int64_t i = 0; i < size[0]; ++i) {
        for (int64_t j = 0; j < size[1]; ++j) {
          for (int64_t k = 0; k < 2; ++k) {
            block.push_back(
                static_cast<int32_t>(100 + ((start[0] + i) * 4 + start[1] + j) * 2 + k));
          }
        }
      }
      const std::string shard = absl::StrCat("rank-", row, column, ".h5");
      auto file = Hdf5File::Create(folder + "/" + shard);
      ASSERT_TRUE(file->Write<int32_t>("/x", size, block.data()).ok());
      ASSERT_TRUE(file->Close().ok());
      manifest.shards.push_back(
          {shard, static_cast<int64_t>(std::filesystem::file_size(folder + "/" + shard))});
      manifest.tensors[0].slices.push_back(
          {shard, "/x", start, size, Crc32(block.data(), block.size() * 4)});
    }
  }
  const std::string path = folder + "/" + kManifestName;
  ASSERT_TRUE(WriteFileAtomically(path, ManifestToText(manifest)).ok());
  ExpectHolds(folder, {{"x", whole}});

  manifest.tensors[0].slices[1].start[1] = 2;  // overlaps block 0 and leaves a hole
  ASSERT_TRUE(WriteFileAtomically(path, ManifestToText(manifest)).ok());
  EXPECT_TRUE(absl::IsDataLoss(OpenCheckpoint(folder).status()));
  manifest.tensors[0].slices.pop_back();  // does not cover
  ASSERT_TRUE(WriteFileAtomically(path, ManifestToText(manifest)).ok());
  EXPECT_TRUE(absl::IsDataLoss(OpenCheckpoint(folder).status()));
}

TEST_F(CheckpointTest, TheLastOnesAreKept) {
  for (const int64_t step : {10, 20, 30}) {
    ASSERT_TRUE(WriteCheckpoint(Run(), step, SomeTensors(step), {}, 2).ok());
  }
  EXPECT_EQ(Folders(), (Strings{"step_00000020", "step_00000030"}));
  ExpectHolds(Run(), SomeTensors(30));
  ASSERT_TRUE(WriteCheckpoint(Run(), 40, SomeTensors(40), {}, 0).ok());
  EXPECT_EQ(ListCheckpoints(Run())->size(), 3u);
}

// A run that goes back to step 10 and on from there must not lose what it writes to later
// checkpoints of its former course, nor they to it.
TEST_F(CheckpointTest, LaterCheckpointsDoNotCountWhenRotating) {
  for (const int64_t step : {10, 20, 30}) {
    ASSERT_TRUE(WriteCheckpoint(Run(), step, SomeTensors(step), {}, 0).ok());
  }
  ASSERT_TRUE(WriteCheckpoint(Run(), 15, SomeTensors(15), {}, 1).ok());
  EXPECT_EQ(Folders(), (Strings{"step_00000015", "step_00000020", "step_00000030"}));
  ASSERT_TRUE(WriteCheckpoint(Run(), 20, SomeTensors(21), {}, 1).ok());
  EXPECT_EQ(Folders(), (Strings{"step_00000020", "step_00000030"}));
  ExpectHolds(Step(20), SomeTensors(21));
}

TEST_F(CheckpointTest, MilestonesAndWhatIsNotTheRunsOwnStay) {
  const CheckpointWriteOptions options{.keep_every = 20};
  for (const int64_t step : {10, 20}) {
    ASSERT_TRUE(WriteCheckpoint(Run(), step, SomeTensors(step), {}, 1, options).ok());
  }
  // Copies whose names are almost those of checkpoints.
  const Strings others = {"step_00000010_good", "step_10", "step_000000010"};
  for (const std::string& name : others) {
    std::filesystem::copy(Step(20), Run() + "/checkpoints/" + name);
  }
  for (const int64_t step : {30, 40, 50, 60, 70}) {
    ASSERT_TRUE(WriteCheckpoint(Run(), step, SomeTensors(step), {}, 2, options).ok());
  }
  Strings expected = {"step_00000020", "step_00000040", "step_00000060", "step_00000070"};
  expected.insert(others.begin(), others.end());
  EXPECT_EQ(Folders(), expected);
  std::filesystem::copy(Step(70), Run() + "/checkpoints/step_00000080");  // holds another step
  EXPECT_EQ(FindNewestCheckpoint(Run())->path, Step(70));
}

TEST_F(CheckpointTest, AFolderOfItsOwnIsWrittenAndReplaced) {
  const std::string path = Path("imported/llama");
  ASSERT_TRUE(WriteCheckpointFolder(path, 0, SomeTensors(1), {}).ok());
  ASSERT_TRUE(WriteCheckpointFolder(path + "/", 0, SomeTensors(2), {}).ok());
  ExpectHolds(path, SomeTensors(2));
  std::filesystem::create_directory(Path("mine"));
  WriteText("mine/thesis.txt", "precious");
  const absl::Status status = WriteCheckpointFolder(Path("mine"), 0, SomeTensors(), {});
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_TRUE(std::filesystem::exists(Path("mine/thesis.txt")));
}

TEST_F(CheckpointTest, AMismatchNamesTheTensorAndTouchesNone) {
  ASSERT_TRUE(WriteCheckpoint(Run(), 1, SomeTensors(), {}, 0).ok());
  const Tensor good = Tensor::Zeros({7, 5}, DType::kFloat32, Device::kCpu);
  const auto expect = [&](const NamedTensor& wrong, absl::StatusCode code,
                          std::vector<std::string> parts) {
    const absl::Status status = ReadCheckpoint(Step(1), {{"model/embedding", good}, wrong});
    EXPECT_EQ(status.code(), code) << status;
    for (const std::string& part : parts) {
      EXPECT_TRUE(absl::StrContains(status.message(), part)) << status << " lacks " << part;
    }
    EXPECT_EQ(good.ToVector<float>(), std::vector<float>(35, 0));
  };
  expect({"model/half", Tensor::Zeros({3, 4}, DType::kBf16, Device::kCpu)},
         absl::StatusCode::kFailedPrecondition,
         {"'model/half'", "expected bf16 [3, 4]", "found bf16 [3, 2, 2]"});
  expect({"ids", Tensor::Zeros({4}, DType::kFloat32, Device::kCpu)},
         absl::StatusCode::kFailedPrecondition, {"'ids'", "expected fp32 [4]", "found int32 [4]"});
  expect({"model/other", good}, absl::StatusCode::kNotFound, {"'model/other'"});
}

TEST_F(CheckpointTest, FloatsAreConvertedWhenAsked) {
  const Tensor values = Tensor::FromVector<float>({1, -2.5, 3.14159265f}, {3});
  ASSERT_TRUE(WriteCheckpoint(Run(), 1, {{"x", values}}, {}, 0).ok());
  const Tensor half = Tensor::Empty({3}, DType::kBf16, Device::kCpu);
  EXPECT_TRUE(absl::IsFailedPrecondition(ReadCheckpoint(Run(), {{"x", half}})));
  ASSERT_TRUE(ReadCheckpoint(Run(), {{"x", half}}, {.convert_floats = true}).ok());
  EXPECT_TRUE(SameBytes(half, values.To(DType::kBf16)));
}

TEST_F(CheckpointTest, UnusableNamesAreRefused) {
  const Tensor x = Filled({1}, DType::kUint8, 0);
  const std::vector<std::vector<std::string>> faulty = {{""},       {"a b"},      {"/a"}, {"a//b"},
                                                        {"a", "a"}, {"a/b", "a"}, {"a/"}};
  for (const std::vector<std::string>& names : faulty) {
    std::vector<NamedTensor> tensors;
    for (const std::string& name : names) tensors.push_back({name, x});
    EXPECT_TRUE(absl::IsInvalidArgument(WriteCheckpoint(Run(), 1, tensors, {}, 0))) << names[0];
  }
  EXPECT_TRUE(WriteCheckpoint(Run(), 1, {{"a/b", x}, {"a.b", x}, {"ab", x}}, {}, 0).ok());
}

TEST_F(CheckpointTest, ARunWithoutCheckpoints) {
  EXPECT_TRUE(ListCheckpoints(Run())->empty());
  EXPECT_TRUE(absl::IsNotFound(FindNewestCheckpoint(Run()).status()));
  EXPECT_TRUE(absl::IsNotFound(OpenCheckpoint(Run()).status()));
}

TEST_F(CheckpointTest, TwoWritersOfOneFolderDoNotMeet) {
  const auto claim = Output::Claim(Path("own"));
  ASSERT_TRUE(claim.ok());
  const absl::Status second = WriteCheckpointFolder(Path("own"), 1, SomeTensors(), {});
  EXPECT_EQ(second.code(), absl::StatusCode::kAborted) << second;
  EXPECT_TRUE(absl::StrContains(second.message(), absl::StrCat("process ", getpid()))) << second;
}

}  // namespace
}  // namespace wyvern
