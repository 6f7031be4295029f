#include "trainer/checkpoint/average.h"

#include <map>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/saved_model.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/checkpoint/model.h"

namespace wyvern {
namespace {

class AverageTest : public CheckpointTest {
 protected:
  AverageTest() : tokenizer_(MakeByteTokenizer()) {}

  // A run with one checkpoint at this step; returns its name.
  std::string Save(const std::string& run, int64_t step, const ModelConfig& config, uint64_t seed,
                   const Tokenizer* tokenizer, nlohmann::json meta = {}) {
    const auto model = Model::Create(config, Device::kCpu, DType::kFloat32);
    model->Initialize(seed);
    values_[run] = Values(model.get());
    const absl::Status saved =
        SaveRun(Path(run), step, {.model = model.get(), .tokenizer = tokenizer}, std::move(meta));
    EXPECT_TRUE(saved.ok()) << saved;
    return absl::StrCat(Path(run), "@", step);
  }
  std::string Save(const std::string& run, int64_t step, uint64_t seed) {
    return Save(run, step, TinyConfig(tokenizer_->vocab_size()), seed, tokenizer_.get(),
                {{"config", run}});
  }

  using Weights = std::map<std::string, std::vector<float>>;
  static Weights Values(Model* model) {
    Weights values;
    for (const Parameter* p : model->parameters()) values[p->name] = p->value.ToVector<float>();
    return values;
  }
  static Weights Load(const std::string& checkpoint) {
    const auto model = LoadModel(checkpoint, Device::kCpu, DType::kFloat32);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? Values(model->get()) : Weights();
  }

  // The mean of runs a, b and c.
  Weights Mean(const std::vector<double>& weights) {
    Weights mean = values_["a"];
    for (auto& [name, values] : mean) {
      for (size_t i = 0; i < values.size(); ++i) {
        const double sum = weights[0] * values[i] + weights[1] * values_["b"][name][i] +
                           weights[2] * values_["c"][name][i];
        values[i] = static_cast<float>(sum / (weights[0] + weights[1] + weights[2]));
      }
    }
    return mean;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::map<std::string, Weights> values_;
};

TEST_F(AverageTest, IsTheWeightedMeanOfEveryTensor) {
  const std::vector<std::string> names = {Save("a", 10, 1), Save("b", 20, 2), Save("c", 30, 3)};
  const std::string out = Path("average");
  const auto averaged = AverageCheckpoints(out, names, AverageWeights(3, 1));
  ASSERT_TRUE(averaged.ok()) << averaged.status();
  EXPECT_EQ((*averaged)[1].step, 20);
  EXPECT_EQ(Load(out), Mean({1, 1, 1}));
  EXPECT_TRUE(VerifyCheckpoint(out).ok());
  // A few elements at a time give the same bits.
  ASSERT_TRUE(AverageCheckpoints(out, names, AverageWeights(3, 0.5), 700).ok());
  EXPECT_EQ(Load(out), Mean({0.25, 0.5, 1}));
}

TEST_F(AverageTest, HoldsModelAndTokenizerAndSaysOfWhat) {
  const std::vector<std::string> names = {Save("a", 10, 1), Save("b", 20, 2)};
  const std::string out = Path("average");
  ASSERT_TRUE(AverageCheckpoints(out, names, {1, 3}).ok());
  const auto info = OpenCheckpoint(out);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->step, 0);
  EXPECT_EQ(info->meta["config"], "b");
  EXPECT_EQ(info->meta["average"][1]["step"], 20);
  EXPECT_EQ(info->meta["average"][1]["share"], 0.75);
  for (const CheckpointTensor& tensor : info->tensors) {
    EXPECT_FALSE(absl::StrContains(tensor.name, "optimizer/")) << tensor.name;
  }
  const auto tokenizer = LoadCheckpointTokenizer(out);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->hash(), tokenizer_->hash());
}

TEST_F(AverageTest, OfEqualWeightsIsTheSameToTheBit) {
  const std::string name = Save("a", 10, 1), out = Path("average");
  ASSERT_TRUE(AverageCheckpoints(out, {name, name, name}, AverageWeights(3, 1)).ok());
  EXPECT_EQ(Load(out), values_["a"]);
}

TEST_F(AverageTest, RefusesAnotherModelByItsDifference) {
  const std::string first = Save("a", 10, 1), out = Path("average");
  const auto refusal = [&](const std::string& other, const std::string& part) {
    const absl::Status status = AverageCheckpoints(out, {first, other}, {1, 1}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
    EXPECT_FALSE(std::filesystem::exists(out));
  };
  ModelConfig wider = TinyConfig(tokenizer_->vocab_size());
  wider.intermediate_size = 64;
  refusal(Save("wider", 10, wider, 1, tokenizer_.get()), "model.intermediate_size");
  refusal(Save("mute", 10, TinyConfig(tokenizer_->vocab_size()), 1, nullptr),
          "tokenizer: expected");
  const absl::Status lost = AverageCheckpoints(out, {first, Path("none")}, {1, 1}).status();
  EXPECT_TRUE(absl::IsNotFound(lost)) << lost;
  EXPECT_TRUE(absl::IsInvalidArgument(AverageCheckpoints(out, {first}, {1}).status()));
}

}  // namespace
}  // namespace wyvern
