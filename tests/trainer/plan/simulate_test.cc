// Compares a step on the meta device with measurements on GPUs: the committed results of
// experiments/throughput and experiments/scale_out.
#include "trainer/plan/simulate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "trainer/config/load.h"

namespace wyvern {
namespace {

RunConfig Load(const std::string& name, std::vector<std::string> sets) {
  sets.push_back("run.device=cuda");
  auto config = LoadRunConfig(absl::StrCat("configs/", name, ".yaml"), sets);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

SimulatedStep SimulateOn(int gpus, const RunConfig& config) {
  const auto run = ResolveRun(config, {.num_ranks = gpus, .simulated = true});
  EXPECT_TRUE(run.ok()) << run.status();
  auto step = SimulateStep(*run, run->stages.front(), 8);
  EXPECT_TRUE(step.ok()) << step.status();
  return *std::move(step);
}

// A step of one micro batch on each of `gpus`.
SimulatedStep Simulate(RunConfig config, int64_t sequences, int64_t seq_len, int gpus = 1) {
  config.train.micro_batch = sequences;
  config.data.seq_len = seq_len;
  config.train.batch_tokens = sequences * seq_len * gpus / config.parallel.mesh.context;
  return SimulateOn(gpus, config);
}

class MeasuredSteps : public testing::TestWithParam<const char*> {};

TEST_P(MeasuredSteps, AgreeInStateAndPeak) {
  std::ifstream lines(absl::StrCat("experiments/throughput/results/", GetParam(), ".jsonl"));
  ASSERT_TRUE(lines.is_open());
  int64_t compared = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto measured = nlohmann::json::parse(line);
    if (measured.contains("error")) continue;
    const auto sets = measured["set"].get<std::vector<std::string>>();
    const SimulatedStep step =
        Simulate(Load(measured["model"], sets), measured["sequences"], measured["seq_len"]);
    const std::string what =
        absl::StrCat(measured["model"].get<std::string>(), " ", measured["set"].dump(), " ",
                     measured["sequences"].dump(), " x ", measured["seq_len"].dump());
    EXPECT_EQ(step.memory.state_bytes(), measured["state_bytes"].get<int64_t>()) << what;
    EXPECT_DOUBLE_EQ(step.flops, measured["flops"].get<double>()) << what;
    const double peak = measured["peak_bytes"].get<double>();
    EXPECT_NEAR(static_cast<double>(step.memory.peak_bytes) / peak, 1, 0.05) << what;

    ++compared;
  }
  EXPECT_GT(compared, 4);
}

INSTANTIATE_TEST_SUITE_P(Throughput, MeasuredSteps,
                         testing::Values("models", "lengths", "recompute"),
                         [](const auto& info) { return std::string(info.param); });

struct MeasuredMesh {
  std::vector<std::string> sets;
  int gpus;
  int64_t sequences, seq_len;
  double state_gib, peak_gib;  // experiments/scale_out/README.md
};

TEST(MeasuredMeshes, AgreeInStateAndPeak) {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const MeasuredMesh meshes[] = {
      {{}, 1, 8, 2048, 22.89, 42.63},
      {{"parallel.replicate=2"}, 2, 8, 2048, 22.89, 42.63},
      {{"parallel.shard=2", "parallel.zero=1"}, 2, 8, 2048, 15.26, 35.00},
      {{"parallel.shard=2", "parallel.zero=2"}, 2, 8, 2048, 12.72, 37.54},
      {{"parallel.shard=2", "parallel.zero=3"}, 2, 8, 2048, 11.45, 36.42},
      {{"train.recompute=elementwise"}, 1, 1, 65536, 22.89, 97.68},
      {{"train.recompute=elementwise", "parallel.context=2"}, 2, 1, 65536, 22.89, 58.13},
  };
  for (const MeasuredMesh& m : meshes) {
    const SimulatedStep step =
        Simulate(Load("delta_net_1.3b", m.sets), m.sequences, m.seq_len, m.gpus);
    const std::string what = absl::StrCat(m.gpus, " GPUs, ", nlohmann::json(m.sets).dump());
    EXPECT_NEAR(static_cast<double>(step.memory.state_bytes()) / kGiB / m.state_gib, 1, 0.001)
        << what;
    EXPECT_NEAR(static_cast<double>(step.memory.peak_bytes) / kGiB / m.peak_gib, 1, 0.05) << what;
  }
}

// A rank keeps its experts' parameters whole, and of all else its share among the experts'
// replicas. Their gradients go out with each micro batch only where they do not leave the shard
// group.
TEST(DividedExperts, AreShardedOverTheirCopies) {
  const auto simulate = [](std::vector<std::string> sets, int64_t micro_batches) {
    RunConfig config = Load("kimi_linear_48b_a3b", sets);
    config.train.batch_tokens = 64 * micro_batches * config.data.seq_len;
    return SimulateOn(64, config);
  };
  // 26 layers of 256 experts, of which a rank has 32; three matrices each.
  constexpr double kExperts = 26.0 * 32 * 3 * 1024 * 2304, kAll = 49122675072.0;
  constexpr double kElse = kAll - 8 * kExperts;
  const std::string zero1 = "parallel.zero=1", zero2 = "parallel.zero=2";
  const auto near = [](double bytes, double expected) {
    EXPECT_NEAR(bytes / expected, 1, 0.005);  // small parameters are fp32, and buffers padded
  };
  const SimulatedStep first = simulate({zero1}, 4);
  near(first.memory.weight_bytes, 2 * (kExperts + kElse));
  near(first.memory.master_bytes, 4 * (kExperts / 8 + kElse / 8));
  near(first.memory.gradient_bytes, 4 * (kExperts + kElse));
  const SimulatedStep second = simulate({zero2}, 4);
  near(second.memory.master_bytes, 4 * (kExperts / 8 + kElse / 8));
  near(second.memory.gradient_bytes, 4 * (kExperts + kElse / 8));
  const SimulatedStep wide = simulate({zero2, "parallel.shard=64"}, 4);
  near(wide.memory.master_bytes, 4 * (kExperts / 8 + kElse / 64));
  near(wide.memory.gradient_bytes, 4 * (kExperts / 8 + kElse / 64));
  // The ranks with the same experts are those of the replicas where shard groups are of 8.
  for (const SimulatedStep* step : {&first, &second}) {
    near(step->volumes.at({"replicate", "reduce_scatter"}).sent_bytes, 4 * kExperts * 7 / 8);
    near(step->volumes.at({"replicate", "all_gather"}).sent_bytes, 2 * kExperts * 7 / 8);
    EXPECT_EQ(step->volumes.count({"replicate", "all_to_all"}), 0u);  // Muon's
  }
  near(wide.volumes.at({"expert replicas", "reduce_scatter"}).sent_bytes, 4 * 4 * kExperts * 7 / 8);
  near(wide.volumes.at({"expert replicas", "all_gather"}).sent_bytes, 2 * kExperts * 7 / 8);
}

// The balance loss is part of a simulated step, as it is of a trained one.
TEST(BalanceLoss, IsSimulated) {
  const auto simulate = [](const char* balance_loss) {
    return SimulateOn(1,
                      Load("moe_quickstart", {absl::StrCat("train.balance_loss=", balance_loss)}));
  };
  const auto count = [](const SimulatedStep& step, Pass pass) {
    double times = 0;
    for (const SimulatedRange& range : step.ranges) {
      times += range.name == "moe_balance" && range.pass == pass ? range.count : 0;
    }
    return times;
  };
  const SimulatedStep without = simulate("0"), with = simulate("0.001");
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    EXPECT_EQ(count(without, pass), 0);
    EXPECT_EQ(count(with, pass), 3) << "of four layers the first is dense";
  }
  EXPECT_GE(with.memory.peak_bytes, without.memory.peak_bytes);
  EXPECT_EQ(with.memory.state_bytes(), without.memory.state_bytes());
}

}  // namespace
}  // namespace wyvern
