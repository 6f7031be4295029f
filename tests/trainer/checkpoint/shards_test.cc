#include "trainer/checkpoint/shards.h"

#include "absl/strings/str_cat.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/folder.h"

namespace wyvern {
namespace {

class CheckpointShardsTest : public CheckpointTest {};

// The row-major numbers of a block's elements.
std::vector<int64_t> Elements(const TensorBlock& block, const Shape& shape) {
  std::vector<int64_t> all;
  for (int64_t n = 0; n < NumElements(shape); ++n) {
    bool inside = true;
    int64_t rest = n;
    for (size_t axis = shape.size(); axis-- > 0; rest /= shape[axis]) {
      const int64_t index = rest % shape[axis] - block.start[axis];
      inside = inside && 0 <= index && index < block.size[axis];
    }
    if (inside) all.push_back(n);
  }
  return all;
}

TEST_F(CheckpointShardsTest, EveryRangeIsAFewBlocksOneAfterAnother) {
  for (const Shape& shape :
       std::vector<Shape>{{}, {1}, {7}, {5, 3}, {1, 6}, {3, 1, 4}, {3, 4, 2}, {2, 3, 2, 2}}) {
    const int64_t size = NumElements(shape);
    for (int64_t begin = 0; begin <= size; ++begin) {
      for (int64_t end = begin; end <= size; ++end) {
        SCOPED_TRACE(absl::StrCat(ToString(shape), " from ", begin, " to ", end));
        const std::vector<TensorBlock> blocks = BlocksOfRange(shape, begin, end);
        EXPECT_LE(blocks.size(), std::max<size_t>(2 * shape.size(), 2) - 1);
        int64_t next = begin;
        for (const TensorBlock& block : blocks) {
          for (const int64_t element : Elements(block, shape)) ASSERT_EQ(element, next++);
          EXPECT_EQ(block.num_elements, NumElements(block.size));
        }
        EXPECT_EQ(next, end);
      }
    }
  }
  EXPECT_EQ(BlocksOfRange({100, 10}, 20, 990).size(), 1u);
}

// Two writers cut every tensor anywhere; whoever reads it needs not know.
TEST_F(CheckpointShardsTest, PartsOfSeveralWritersAreWholeTensors) {
  const std::vector<NamedTensor> tensors = SomeTensors();
  for (const int64_t max_bytes : {int64_t{1} << 30, int64_t{24}}) {
    const auto temporary = MakeTemporaryFolder(Step(4), 0);
    ASSERT_TRUE(temporary.ok()) << temporary.status();
    Manifest manifest{.step = 4};
    ShardWriter first(*temporary, "rank-00000-", max_bytes), second(*temporary, "b-", max_bytes);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Tensor& t = tensors[i].tensor;
      const CheckpointTensor tensor = {tensors[i].name, t.shape(), t.dtype()};
      const int64_t cut = t.numel() * static_cast<int64_t>(i % 4) / 3;  // none of it up to all
      const auto* bytes = static_cast<const char*>(t.raw());
      ASSERT_TRUE(first.Add(tensor, 0, cut, bytes).ok());
      ASSERT_TRUE(second.Add(tensor, cut, t.numel(), bytes + cut * SizeOf(t.dtype())).ok());
    }
    for (ShardWriter* writer : {&first, &second}) {
      ASSERT_TRUE(writer->Finish().ok());
      const auto part = ManifestPartFromText(ManifestPartToText(writer->written()));
      ASSERT_TRUE(part.ok()) << part.status();
      // Not before all is there.
      EXPECT_TRUE(absl::IsDataLoss(PublishCheckpoint(*temporary, Step(4), *part)));
      ASSERT_TRUE(AddManifestPart(*part, &manifest).ok());
    }
    const absl::Status published = PublishCheckpoint(*temporary, Step(4), manifest);
    ASSERT_TRUE(published.ok()) << published;
    ExpectHolds(Step(4), tensors);
    EXPECT_TRUE(VerifyCheckpoint(Step(4)).ok());
    // Ranges of it, whatever the slices.
    for (const NamedTensor& named : tensors) {
      const Tensor& t = named.tensor;
      for (int64_t begin = 0; begin < t.numel(); begin += 3) {
        const int64_t size = std::min<int64_t>(5, t.numel() - begin);
        const Tensor values = Tensor::Zeros({size}, t.dtype(), Device::kCpu);
        ASSERT_TRUE(
            ReadCheckpointParts(Step(4), {{{named.name, t.shape(), t.dtype()}, begin, values}})
                .ok());
        EXPECT_EQ(
            std::memcmp(values.raw(), static_cast<const char*>(t.raw()) + begin * SizeOf(t.dtype()),
                        values.nbytes()),
            0)
            << named.name << " from " << begin;
      }
    }
  }
}

TEST_F(CheckpointShardsTest, WritersThatDisagreeAreFound) {
  Manifest manifest;
  manifest.tensors.push_back({{"x", {4}, DType::kFloat32}, {}});
  Manifest part;
  part.tensors.push_back({{"x", {5}, DType::kFloat32}, {}});
  EXPECT_TRUE(absl::IsDataLoss(AddManifestPart(part, &manifest)));
  EXPECT_TRUE(absl::IsDataLoss(ManifestPartFromText("{\"shards\": [").status()));
}

}  // namespace
}  // namespace wyvern
