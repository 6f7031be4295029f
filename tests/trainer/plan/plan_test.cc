// Predicted rates against the committed measurements, and the search for a setting that fits.
#include "trainer/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "trainer/config/load.h"
#include "trainer/plan/parts.h"

namespace wyvern {
namespace {

using testing::HasSubstr;

RunConfig LoadFile(const std::string& path, std::vector<std::string> sets) {
  sets.insert(sets.begin(), "run.device=cuda");
  auto config = LoadRunConfig(path, sets);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}
RunConfig Load(const std::string& name, std::vector<std::string> sets = {}) {
  return LoadFile(absl::StrCat("configs/", name, ".yaml"), std::move(sets));
}

PlanOptions On(const std::string& gpu, int gpus) {
  return {.num_gpus = gpus, .gpus_per_node = 8, .gpu = *FindGpu(gpu)};
}

Plan Make(RunConfig config, int64_t sequences, int64_t seq_len, const PlanOptions& options) {
  config.train.micro_batch = sequences;
  config.data.seq_len = seq_len;
  config.train.batch_tokens = sequences * seq_len * options.num_gpus / config.parallel.mesh.context;
  auto plan = MakePlan(config, options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *std::move(plan);
}

TEST(Plan, PredictsTheMeasuredRatesOfOneGpu) {
  int64_t compared = 0;
  for (const char* part : {"models", "lengths", "recompute"}) {
    std::ifstream lines(absl::StrCat("experiments/throughput/results/", part, ".jsonl"));
    ASSERT_TRUE(lines.is_open());
    for (std::string line; std::getline(lines, line);) {
      const auto measured = nlohmann::json::parse(line);
      if (measured.contains("error")) continue;
      const Plan plan = Make(Load(measured["model"], measured["set"]), measured["sequences"],
                             measured["seq_len"], On("h100-80g", 1));
      EXPECT_NEAR(plan.step_ms() / measured["step_ms"].get<double>(), 1, 0.15)
          << measured["model"] << " " << measured["sequences"] << " x " << measured["seq_len"]
          << " " << measured["set"];
      ++compared;
    }
  }
  EXPECT_GT(compared, 20);
}

struct MeasuredMesh {
  std::vector<std::string> sets;
  int gpus;
  int64_t sequences, seq_len;
  double step_ms;  // experiments/scale_out/README.md
};

TEST(Plan, PredictsTheMeasuredRatesOfTwoGpus) {
  const MeasuredMesh meshes[] = {
      {{}, 1, 8, 2048, 241.5},
      {{"parallel.replicate=2"}, 2, 8, 2048, 258.5},
      {{"parallel.shard=2", "parallel.zero=1"}, 2, 8, 2048, 251.1},
      {{"parallel.shard=2", "parallel.zero=2"}, 2, 8, 2048, 252.2},
      {{"parallel.shard=2", "parallel.zero=3"}, 2, 8, 2048, 251.4},
      {{"train.recompute=elementwise"}, 1, 1, 65536, 958.6},
      {{"train.recompute=elementwise", "parallel.context=2"}, 2, 1, 65536, 516.2},
  };
  for (const MeasuredMesh& m : meshes) {
    const Plan plan =
        Make(Load("delta_net_1.3b", m.sets), m.sequences, m.seq_len, On("h200-141g", m.gpus));
    EXPECT_NEAR(plan.step_ms() / m.step_ms, 1, 0.15)
        << m.gpus << " GPUs, " << nlohmann::json(m.sets);
  }
}

// experiments/kimi_linear/results/four_layers.jsonl.
TEST(Plan, PredictsFourLayersOfKimiLinear) {
  const MeasuredMesh meshes[] = {
      {{"optimizer.type=adamw", "optimizer.qk_clip=null"}, 1, 8, 4096, 412.8},
      // Measured with a build whose head took 30 ms more.
      {{}, 1, 8, 4096, 725.2},
      {{"parallel.shard=2", "parallel.expert=2", "parallel.zero=2"}, 2, 8, 4096, 620.6},
  };
  const double peak_gb[] = {123.0, 100.3, 58.3};
  for (size_t i = 0; i < std::size(meshes); ++i) {
    const MeasuredMesh& m = meshes[i];
    const Plan plan = Make(LoadFile("experiments/kimi_linear/four_layers.yaml", m.sets),
                           m.sequences, m.seq_len, On("h200-141g", m.gpus));
    EXPECT_NEAR(plan.step_ms() / m.step_ms, 1, 0.15) << nlohmann::json(m.sets);
    EXPECT_NEAR(static_cast<double>(plan.step.memory.peak_bytes) / 1e9 / peak_gb[i], 1, 0.05)
        << nlohmann::json(m.sets);
  }
}

TEST(Plan, CountsWhatEachAxisSends) {
  const RunConfig config = Load("delta_net_1.3b", {"parallel.shard=2", "parallel.zero=3"});
  const Plan plan = Make(config, 8, 2048, On("h100-80g", 4));
  const double parameters = 1365677056;
  double gathered = 0, scattered = 0, reduced = 0;
  for (const PlannedComm& c : plan.communication) {
    EXPECT_TRUE(c.inside_node);
    if (c.group == "shard" && c.operation == "all_gather") gathered += c.sent_bytes;
    if (c.group == "shard" && c.operation == "reduce_scatter") scattered += c.sent_bytes;
    if (c.operation == "all_reduce") reduced += c.sent_bytes;
  }
  // A half of each bf16 value twice, but the embedding and the head (which the forward ends in)
  // once; a half of each fp32 gradient once; between replicas the half shard's gradients, as a ring
  // of two sends them.
  const double tables = 32000.0 * 2048;
  EXPECT_NEAR(gathered / (parameters * 2 - 2 * tables) - 0, 1, 0.01);
  EXPECT_NEAR(scattered / (parameters * 2), 1, 0.01);
  EXPECT_NEAR(reduced / (parameters * 2), 1, 0.01);
}

// Only activations and scratch memory grow with the micro batch, and all lines together are the
// peak.
TEST(Plan, TheLinesOfTheMemoryAddUp) {
  struct Case {
    const char* config;
    std::vector<std::string> sets;
    int gpus;
  };
  const Case cases[] = {
      {"delta_net_340m", {}, 1},
      {"delta_net_340m", {"parallel.replicate=2"}, 2},
      {"delta_net_340m", {"parallel.shard=2", "parallel.zero=1"}, 2},
      {"delta_net_340m", {"parallel.shard=2", "parallel.zero=2"}, 2},
      {"delta_net_340m", {"parallel.shard=2", "parallel.zero=3"}, 2},
      {"delta_net_340m", {"optimizer.type=muon"}, 1},
      {"delta_net_340m", {"train.recompute_blocks=24"}, 1},
      {"kda_1.3b", {"train.recompute=elementwise"}, 1},
      {"moe_quickstart", {}, 1},
      {"kimi_linear_proxy_1b", {"parallel={shard: 2, expert: 2, zero: 2}"}, 2},
  };
  for (const Case& c : cases) {
    const RunConfig config = Load(c.config, c.sets);
    const Plan plan = Make(config, 4, 1024, On("h200-141g", c.gpus));
    const Plan small = Make(config, 1, 1024, On("h200-141g", c.gpus));
    const std::string what = absl::StrCat(c.config, " ", nlohmann::json(c.sets).dump());
    int64_t sum = 0;
    for (const PlannedMemory& part : MemoryParts(plan.step.memory)) {
      EXPECT_GT(part.bytes, 0) << what << ": " << part.name;
      EXPECT_THAT(PlanText(plan), HasSubstr(part.name));
      sum += part.bytes;
    }
    EXPECT_EQ(sum, plan.step.memory.peak_bytes) << what;
    EXPECT_EQ(small.step.memory.state_bytes(), plan.step.memory.state_bytes()) << what;
    EXPECT_LE(small.step.memory.passing_bytes(), plan.step.memory.passing_bytes()) << what;
  }
}

TEST(Plan, SeveralMicroBatchesCostWhatEachAdds) {
  RunConfig config = Load("delta_net_340m");
  config.train.micro_batch = 4;
  config.data.seq_len = 2048;
  const auto with = [&](int64_t count) {
    config.train.batch_tokens = count * 4 * 2048;
    return *MakePlan(config, On("h100-80g", 1));
  };
  const Plan two = with(2), three = with(3), four = with(4), eight = with(8);
  const double more = four.step_ms() - three.step_ms();
  EXPECT_NEAR(eight.step_ms() - four.step_ms(), 4 * more, 1e-6 * eight.step_ms());
  EXPECT_NEAR(three.step_ms() - two.step_ms(), more, 1e-6 * three.step_ms());
  EXPECT_DOUBLE_EQ(eight.step.flops, 4 * two.step.flops);
  EXPECT_EQ(eight.step.memory.peak_bytes, two.step.memory.peak_bytes);
}

TEST(Plan, SuggestsWhatFits) {
  RunConfig config = Load("delta_net_1.3b", {"train.recompute=none"});
  config.train.micro_batch = 32;
  config.data.seq_len = 2048;
  config.train.batch_tokens = 32 * 2048 * 8;
  const PlanOptions options = On("a100-40g", 8);
  const auto plan = MakePlan(config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_FALSE(plan->fits());
  EXPECT_THAT(PlanText(*plan), HasSubstr("DOES NOT FIT"));
  const auto better = SuggestPlan(config, options);
  ASSERT_TRUE(better.ok()) << better.status();
  EXPECT_TRUE(better->fits());
  EXPECT_EQ(better->run.config.train.batch_tokens, config.train.batch_tokens);
  // The printed keys lead back to the suggestion.
  RunConfig set = better->run.config;
  EXPECT_THAT(PlanSettings(config, *better), HasSubstr("train.micro_batch="));
  EXPECT_EQ(PlanSettings(set, *better), "");
}

// Experts may be divided, and room is left for a plan that is 5% wrong.
TEST(Plan, SuggestsDividedExpertsAndLeavesRoom) {
  RunConfig config = LoadFile(
      "experiments/kimi_linear/four_layers.yaml",
      {"parallel={shard: 1, expert: 1}", "train.micro_batch=1", "train.batch_tokens=524288"});
  PlanOptions options = On("h100-80g", 2);
  EXPECT_FALSE(MakePlan(config, options)->fits());
  const auto plan = SuggestPlan(config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->run.config.parallel.mesh.expert, 2);
  EXPECT_THAT(PlanSettings(config, *plan), HasSubstr("parallel.expert=2"));
  options.gpu.memory_bytes = plan->needed_bytes() / 0.97;
  const auto smaller = SuggestPlan(config, options);
  ASSERT_TRUE(smaller.ok()) << smaller.status();
  EXPECT_LE(smaller->needed_bytes(), 0.95 * options.gpu.memory_bytes);
}

TEST(Plan, NamesWhatIsWrong) {
  EXPECT_THAT(std::string(FindGpu("h900").status().message()), HasSubstr("h100-80g"));
  RunConfig config = Load("delta_net_1.3b", {"parallel.shard=3"});
  EXPECT_THAT(std::string(MakePlan(config, On("h100-80g", 4)).status().message()),
              HasSubstr("shard 3"));
  // One document of a million tokens on the smallest GPU.
  config = Load("transformer_1.3b");
  config.train.micro_batch = 1;
  config.train.batch_tokens = config.data.seq_len = int64_t{1} << 20;
  EXPECT_THAT(std::string(SuggestPlan(config, On("a100-40g", 1)).status().message()),
              HasSubstr("no mesh of 1 x a100-40g"));
}

TEST(Parts, AddUpToTheModel) {
  const RunConfig config = Load("kda_1.3b");
  int64_t parameters = 0;
  double products = 0;
  for (const ModelPart& part : PartsOf(config.model)) {
    parameters += part.parameters;
    products += part.product_flops;
    EXPECT_NE(part.name, "other");
  }
  EXPECT_EQ(parameters, 1390941568);
  // Norms, biases, convolutions, A_log and the embedding multiply nothing.
  EXPECT_LT(products, 2.0 * static_cast<double>(parameters));
  EXPECT_GT(products, 1.8 * static_cast<double>(parameters - 32000 * 2048));
}

TEST(Plan, TheAgreementOfAStepGrowsWithTheLogarithmOfTheRanks) {
  const RunConfig config = Load("delta_net_1.3b");
  int rounds = 1;
  for (const int gpus : {2, 4, 8, 16}) {
    const Plan plan = Make(config, 1, 2048, On("h100-80g", gpus));
    EXPECT_EQ(plan.agreement_rounds, rounds);
    EXPECT_DOUBLE_EQ(plan.agreement_ms, 0.04 * rounds);
    EXPECT_THAT(PlanText(plan),
                HasSubstr(absl::StrCat("the step's agreement, ", rounds, " rounds")));
    ++rounds;
  }
  EXPECT_EQ(Make(config, 1, 2048, On("h100-80g", 1)).agreement_rounds, 0);
}

}  // namespace
}  // namespace wyvern
