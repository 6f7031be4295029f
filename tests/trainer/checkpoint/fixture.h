// A small checkpoint with every element type, for the tests of trainer/checkpoint.
#ifndef WYVERN_TESTS_TRAINER_CHECKPOINT_FIXTURE_H_
#define WYVERN_TESTS_TRAINER_CHECKPOINT_FIXTURE_H_

#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/data/data_fixture.h"
#include "trainer/checkpoint/read.h"
#include "trainer/checkpoint/write.h"

namespace wyvern {

class CheckpointTest : public DataTest {
 protected:
  static Tensor Filled(Shape shape, DType dtype, int seed) {
    const Tensor tensor = Tensor::Empty(std::move(shape), dtype, Device::kCpu);
    auto* bytes = static_cast<uint8_t*>(tensor.raw());
    for (int64_t i = 0; i < tensor.nbytes(); ++i) bytes[i] = static_cast<uint8_t>(i * 31 + seed);
    return tensor;
  }

  static std::vector<NamedTensor> SomeTensors(int seed = 1) {
    return {{"model/embedding", Filled({7, 5}, DType::kFloat32, seed)},
            {"model/blocks.0.norm", Filled({5}, DType::kFloat64, seed + 1)},
            {"model/half", Filled({3, 2, 2}, DType::kBf16, seed + 2)},
            {"optimizer/embedding/m", Filled({7, 5}, DType::kFloat32, seed + 3)},
            {"counter", Filled({}, DType::kInt64, seed + 4)},
            {"ids", Filled({4}, DType::kInt32, seed + 5)},
            {"tokenizer/model", Filled({11}, DType::kUint8, seed + 6)},
            {"empty", Filled({0, 3}, DType::kFloat32, seed)}};
  }

  static std::vector<NamedTensor> EmptyLike(const std::vector<NamedTensor>& tensors) {
    std::vector<NamedTensor> result;
    for (const NamedTensor& t : tensors) result.push_back({t.name, Tensor::ZerosLike(t.tensor)});
    return result;
  }

  static bool SameBytes(const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() && a.dtype() == b.dtype() &&
           (a.nbytes() == 0 || std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0);
  }

  // Reads the checkpoint and compares it with `expected` byte for byte.
  static void ExpectHolds(const std::string& path, const std::vector<NamedTensor>& expected) {
    const std::vector<NamedTensor> into = EmptyLike(expected);
    const absl::Status status = ReadCheckpoint(path, into);
    ASSERT_TRUE(status.ok()) << status;
    for (size_t i = 0; i < into.size(); ++i) {
      EXPECT_TRUE(SameBytes(into[i].tensor, expected[i].tensor)) << into[i].name;
    }
  }

  std::string Run() const { return Path("run"); }
  std::string Step(int64_t step) const {
    std::string digits = std::to_string(step);
    return absl::StrCat(Run(), "/checkpoints/step_", std::string(8 - digits.size(), '0'), digits);
  }

  // Names in the checkpoints folder, hidden ones too.
  std::set<std::string> Folders() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(Path("run/checkpoints"))) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }
};

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_CHECKPOINT_FIXTURE_H_
