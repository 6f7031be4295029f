// A model on every mesh that begins with the weights of a checkpoint or of a Hugging Face folder.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tests/ranks/ranks.h"
#include "tests/trainer/hf/hf_models.h"
#include "tests/trainer/saved_model.h"
#include "tests/trainer/state_checks.h"
#include "trainer/hf/save_folder.h"
#include "trainer/init/init_plan.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

using Values = std::map<std::string, std::vector<float>>;

class InitRanks : public testing::Test {
 protected:
  InitRanks() {
    std::string name = (fs::temp_directory_path() / "wyvern_init_XXXXXX").string();
    if (TheWorld().rank() == 0) {
      EXPECT_NE(mkdtemp(name.data()), nullptr);
    }
    folder_ = GatherTexts(TheWorld().host(), name).front();
  }
  ~InitRanks() override {
    TheWorld().host().Barrier();
    if (TheWorld().rank() == 0) fs::remove_all(folder_);
  }

  // Every element of this rank's master weights against the whole tensors.
  static void ExpectValues(const RankState& state, const Values& expected) {
    int64_t num_elements = 0;
    for (const TensorPart& part : MasterParts(*state.optimizer)) {
      if (!part.values.defined()) continue;
      absl::string_view name = part.tensor.name;
      absl::ConsumePrefix(&name, "model/");
      const std::vector<float>& whole = expected.at(std::string(name));
      const std::vector<float> values = part.values.ToVector<float>();
      num_elements += part.values.numel();
      ASSERT_TRUE(std::equal(values.begin(), values.end(), whole.begin() + part.begin)) << name;
    }
    EXPECT_GT(num_elements, 0);
    for (const ModelBuffer* b : state.model->buffers()) {
      EXPECT_EQ(b->value.ToVector<float>(), expected.at(b->name)) << b->name;
    }
  }

  std::string folder_;
};

TEST_F(InitRanks, EveryMeshBeginsWithTheSameBits) {
  const int64_t n = TheWorld().size();
  for (const std::string& name : HfTestModelNames()) {
    SCOPED_TRACE(name);
    const ModelConfig config = HfTestModelNamed(name);
    const auto parent = Model::Create(config, Device::kCpu, DType::kFloat32);
    parent->Initialize(3);
    Values expected;
    for (const Parameter* p : parent->parameters()) expected[p->name] = p->value.ToVector<float>();
    for (const ModelBuffer* b : parent->buffers()) {
      b->value.CopyFrom(Tensor::FromVector(
          std::vector<float>(static_cast<size_t>(b->value.numel()), 0.5F), b->value.shape()));
    }
    ZeroWhatFoldersLeaveOut(parent.get());
    for (const ModelBuffer* b : parent->buffers()) expected[b->name] = b->value.ToVector<float>();
    const std::string run = absl::StrCat(folder_, "/", name), hf = run + "_hf";
    if (TheWorld().rank() == 0) {
      ASSERT_TRUE(SaveRun(run, 3, {.model = parent.get()}).ok());
      ASSERT_TRUE(SaveHfFolder(parent.get(), hf, {.max_shard_bytes = 60000}).ok());
    }
    TheWorld().host().Barrier();
    std::vector<std::pair<MeshShape, int>> meshes = {
        {{n, 1}, 1}, {{1, n}, 1}, {{1, n}, 2}, {{1, n}, 3}};
    if (n == 4) meshes.push_back({{2, 2}, 3});
    if (config.moe.has_value() && config.moe->num_experts % n == 0) {
      meshes.insert(meshes.end(), {{{1, n, 1, n}, 2}, {{n, 1, 1, n}, 1}});
    }
    for (const auto& [shape, stage] : meshes) {
      for (const std::string& path : {run, hf}) {
        const RankState state(&TheWorld(), shape, stage, config);
        state.model->Initialize(4);
        const auto weights = ParentWeights::Open(path);
        ASSERT_TRUE(weights.ok()) << weights.status();
        const auto plan = PlanInit(**weights, {}, state.model.get());
        ASSERT_TRUE(plan.ok()) << plan.status();
        const absl::Status loaded = LoadInit(**weights, *plan, *state.optimizer, state.model.get());
        ASSERT_TRUE(loaded.ok()) << loaded;
        ExpectValues(state, expected);
      }
    }
  }
}

}  // namespace
}  // namespace wyvern
