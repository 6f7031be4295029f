// Steps of decoding by DecodeGraph against Model::Hidden over a cache of its own, bit for bit.
#include "layers/decode_graph.h"

#include <gtest/gtest.h>

#include "kernels/runtime/allocator.h"
#include "kernels/runtime/device.h"
#include "layers/mixers/attention/attention_config.h"
#include "tests/layers/tiny_models.h"

namespace wyvern {
namespace {

std::vector<double> OnHost(const Tensor& x) {
  return x.To(Device::kCpu).To(DType::kFloat64).ToVector<double>();
}

std::unique_ptr<Model> Make(const ModelConfig& config, Device device, DType compute) {
  auto model = Model::Create(config, device, compute, /*trainable=*/false);
  model->Initialize(3);
  return model;
}

// Reads the next `lengths` tokens of each sequence.
std::vector<double> Read(Model* model, const std::vector<int64_t>& lengths, uint64_t seed,
                         DecodeCache* cache) {
  int64_t count = 0;
  for (const int64_t length : lengths) count += length;
  Tape tape(/*recording=*/false);
  const Tensor ids = IdTensor(TinyIds(count, model->config().vocab_size, seed));
  return OnHost(
      model->Hidden(tape, ids.To(model->device()), cache->Next(lengths, model->device()), cache)
          .value());
}

class Pair {
 public:
  explicit Pair(Model* model, int64_t num_sequences, bool record = true)
      : model_(model),
        steps_(num_sequences),
        general_(num_sequences),
        graph_(std::make_unique<DecodeGraph>(model, &steps_, record)) {}

  void Read(const std::vector<int64_t>& lengths) {
    ++seed_;
    EXPECT_EQ(wyvern::Read(model_, lengths, seed_, &steps_),
              wyvern::Read(model_, lengths, seed_, &general_));
  }

  void Step(int count) {
    const int64_t n = steps_.num_sequences();
    for (int i = 0; i < count; ++i) {
      ++seed_;
      const Tensor hidden = graph_->Step(TinyIds(n, model_->config().vocab_size, seed_));
      const auto expected = wyvern::Read(model_, std::vector<int64_t>(n, 1), seed_, &general_);
      ASSERT_EQ(OnHost(hidden), expected) << "at step " << i;
      for (int64_t s = 0; s < n; ++s) ASSERT_EQ(steps_.num_tokens(s), general_.num_tokens(s));
    }
  }

  void Select(const std::vector<int64_t>& sequences) {
    steps_ = steps_.Select(sequences);
    general_ = general_.Select(sequences);
    graph_ = std::make_unique<DecodeGraph>(model_, &steps_);
  }

  const DecodeGraph& graph() const { return *graph_; }
  DecodeCache& steps() { return steps_; }

 private:
  Model* model_;
  uint64_t seed_ = 100;
  DecodeCache steps_, general_;
  std::unique_ptr<DecodeGraph> graph_;
};

class DecodeGraphTest : public testing::TestWithParam<std::string> {
 protected:
  DecodeGraphTest() { SetPoison(true); }
  ~DecodeGraphTest() override { SetPoison(false); }
};

TEST_P(DecodeGraphTest, OneSequenceAcrossGrowthAndWindows) {
  const auto model = Make(TinyModelNamed(GetParam()), Device::kCpu, DType::kFloat32);
  Pair pair(model.get(), 1);
  pair.Read({9});
  pair.Step(140);  // past 64 rows, and several windows
  pair.Read({7});
  pair.Step(3);
  EXPECT_EQ(pair.graph().num_records(), 0);  // on the CPU
}

TEST_P(DecodeGraphTest, SeveralSequencesAndOtherReadsBetween) {
  const auto model = Make(TinyModelNamed(GetParam()), Device::kCpu, DType::kFloat32);
  Pair pair(model.get(), 3);
  pair.Read({9, 1, 70});
  pair.Step(70);
  pair.Read({2, 0, 5});
  pair.Step(3);
  pair.Select({2, 0, 2, 1});
  pair.Step(4);
  pair.Select({1});
  pair.Step(4);
}

// A sequence without tokens begins in the general way.
TEST_P(DecodeGraphTest, ASequenceMayBeginWithAStep) {
  const auto model = Make(TinyModelNamed(GetParam()), Device::kCpu, DType::kFloat32);
  Pair pair(model.get(), 2);
  pair.Step(3);
  Pair second(model.get(), 2);
  second.Read({0, 4});
  second.Step(3);
}

TEST_P(DecodeGraphTest, RecordedStepsOnTheGpuEqualQueuedOnes) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  for (const DType compute : {DType::kBf16, DType::kFloat32}) {
    for (const std::vector<int64_t>& lengths : {std::vector<int64_t>{9}, {9, 1, 70}}) {
      const auto model = Make(TinyModelNamed(GetParam()), Device::kCuda, compute);
      const auto n = static_cast<int64_t>(lengths.size());
      DecodeCache recorded(n), queued(n);
      Read(model.get(), lengths, 1, &recorded);
      Read(model.get(), lengths, 1, &queued);
      DecodeGraph by_graph(model.get(), &recorded), by_kernel(model.get(), &queued, false);
      for (uint64_t step = 0; step < 140; ++step) {
        const std::vector<int32_t> ids = TinyIds(n, model->config().vocab_size, 100 + step);
        ASSERT_EQ(OnHost(by_graph.Step(ids)), OnHost(by_kernel.Step(ids))) << "at step " << step;
      }
      EXPECT_GE(by_graph.num_records(), 1);
      EXPECT_LE(by_graph.num_records(), 6);  // as caches grow
      EXPECT_EQ(by_kernel.num_records(), 0);
      // A read between, after which memory may have moved.
      Read(model.get(), lengths, 2, &recorded);
      Read(model.get(), lengths, 2, &queued);
      for (uint64_t step = 0; step < 5; ++step) {
        const std::vector<int32_t> ids = TinyIds(n, model->config().vocab_size, 300 + step);
        ASSERT_EQ(OnHost(by_graph.Step(ids)), OnHost(by_kernel.Step(ids))) << "at step " << step;
      }
    }
  }
}

// Steps, whose sums are in another order, against one forward over all tokens.
TEST_P(DecodeGraphTest, StepsOnTheGpuAreNearOneForward) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  const auto model = Make(TinyModelNamed(GetParam()), Device::kCuda, DType::kFloat32);
  const std::vector<int32_t> ids = TinyIds(90, model->config().vocab_size, 5);
  Tape tape(/*recording=*/false);
  const auto whole = OnHost(model
                                ->Hidden(tape, IdTensor(ids).To(Device::kCuda),
                                         Packing::FromDocuments({0, 90}, Device::kCuda))
                                .value());
  DecodeCache cache;
  DecodeGraph graph(model.get(), &cache);
  std::vector<double> steps;
  for (const int32_t id : ids) {
    const auto row = OnHost(graph.Step({&id, 1}));
    steps.insert(steps.end(), row.begin(), row.end());
  }
  ASSERT_EQ(steps.size(), whole.size());
  double error = 0, norm = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    error += (steps[i] - whole[i]) * (steps[i] - whole[i]);
    norm += whole[i] * whole[i];
  }
  EXPECT_LE(error, 1e-8 * norm);
}

INSTANTIATE_TEST_SUITE_P(All, DecodeGraphTest, testing::ValuesIn(TinyModelNames()),
                         [](const auto& info) { return info.param; });

// Windows are passed over in place, so a recorded step stays valid.
TEST(DecodeGraph, AWindowLayerKeepsItsMemory) {
  const auto model = Make(TinyModel({AttentionMixerConfig{.num_heads = 2, .window = 20}}),
                          Device::kCpu, DType::kFloat32);
  Pair pair(model.get(), 2);
  pair.Read({40, 3});
  pair.Step(2);
  const int64_t bytes = pair.steps().num_bytes();
  pair.Step(200);
  EXPECT_EQ(pair.steps().num_bytes(), bytes);
}

TEST(DecodeGraph, AReservedCacheOfOneSequenceStaysWhereItIs) {
  const auto model =
      Make(TinyModel({AttentionMixerConfig{.num_heads = 2}}), Device::kCpu, DType::kFloat32);
  DecodeCache cache;
  cache.Reserve(200);
  Read(model.get(), {100}, 1, &cache);
  const int64_t bytes = cache.num_bytes();
  DecodeGraph graph(model.get(), &cache);
  for (int i = 0; i < 100; ++i) graph.Step({1});
  EXPECT_EQ(cache.num_bytes(), bytes);
  EXPECT_EQ(cache.num_tokens(), 200);
}

}  // namespace
}  // namespace wyvern
