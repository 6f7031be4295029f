#include "trainer/sweep/plan.h"

#include "absl/strings/str_cat.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/model.h"
#include "tests/trainer/sweep/sweep_fixture.h"
#include "trainer/config/load.h"
#include "trainer/plan/flops.h"

namespace wyvern {
namespace {

using SweepPlanTest = SweepTest;

TEST_F(SweepPlanTest, AxesCombineAndNameTheRuns) {
  const SweepPlan plan = Plan(R"(
axes:
  - list: {run.seed: [1, 2]}
  - grid: {optimizer.beta1: [0.8, 0.9], train.grad_clip: [0.5, 1]}
  - zip: {schedule.peak: [1e-3, 0.002], schedule.warmup_steps: [3, 5]}
)");
  ASSERT_EQ(plan.runs.size(), 16u);
  EXPECT_EQ(plan.runs[0].name, "seed_1-beta1_0.8-grad_clip_0.5-peak_0.001");
  EXPECT_EQ(plan.runs[15].name, "seed_2-beta1_0.9-grad_clip_1-peak_0.002");
  EXPECT_EQ(plan.runs[15].Dir(), Path("sweep/") + plan.runs[15].name);
  const RunConfig& c = plan.runs[7].config;  // seed 1, beta1 0.9, clip 1, second of the zip
  EXPECT_EQ(c.run.seed, 1u);
  EXPECT_EQ(c.optimizer.beta1, 0.9);
  EXPECT_EQ(c.train.grad_clip, 1);
  EXPECT_EQ(c.schedule.peak, 2e-3);
  EXPECT_EQ(c.schedule.warmup_steps, 5);
  EXPECT_EQ(c.model.hidden_size, 32);  // of the base
  EXPECT_TRUE(plan.device_given);
}

TEST_F(SweepPlanTest, DerivedValuesFollowTheModel) {
  const SweepPlan plan = Plan(R"(
run_name: "{size}-{model.num_layers}"
set:
  train.steps: null
  train.tokens: = 20 * parameters
  train.batch_tokens: = 256 * max(1, round(flops_per_token / 1e6))
  schedule.peak: = rate[width] * sqrt(data.seq_len / 32)
  model.intermediate_size: = round(8 / 3 * model.hidden_size, 16)
  model.hidden_size: = width
axes:
  - name: size
    points:
      small: {width: 32, model.num_layers: 3}
      large: {width: 48, model: {num_layers: 6, mixers: {gdn: {num_heads: = width / 16}}}}
tables:
  rate: {32: 3e-3, 48: 2e-3}
)");
  ASSERT_EQ(plan.runs.size(), 2u);
  const SweepRun& large = plan.runs[1];
  EXPECT_EQ(large.name, "large-6");
  EXPECT_EQ(large.config.run.name, "large-6");
  EXPECT_EQ(large.config.model.hidden_size, 48);
  EXPECT_EQ(large.config.model.intermediate_size, 128);
  EXPECT_EQ(large.config.model.mixers.at("gdn").As<DeltaMixerConfig>()->num_heads, 3);
  EXPECT_EQ(plan.runs[0].config.model.mixers.at("gdn").As<DeltaMixerConfig>()->num_heads, 2);
  EXPECT_EQ(large.parameters, CountParameters(large.config.model));
  EXPECT_EQ(large.config.train.tokens, 20 * large.parameters);
  EXPECT_EQ(large.flops_per_token, FlopsPerToken(large.config.model, 32).training);
  EXPECT_EQ(large.config.schedule.peak, 2e-3);
  EXPECT_EQ(
      large.Flops(),
      large.flops_per_token * static_cast<double>(large.Steps() * large.config.train.batch_tokens));
  EXPECT_EQ(std::get<std::string>(large.values.at("size")), "large");
  EXPECT_EQ(std::get<double>(large.values.at("width")), 48);
}

TEST_F(SweepPlanTest, BaseFilesLieOverEachOther) {
  WriteText("over.yaml", "train: {grad_clip: 0.25}\nschedule: {warmup_steps: null}\n");
  const std::string path = WriteText(
      "sweep.yaml", absl::StrCat("name: tiny\nbase: [", Path("config.yaml"), ", ",
                                 Path("over.yaml"), "]\naxes: [{list: {run.seed: [1, 2]}}]\n"));
  const auto plan = LoadSweep(path);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->runs[0].config.train.grad_clip, 0.25);
  EXPECT_EQ(plan->runs[0].config.schedule.warmup_steps, 0);
  EXPECT_EQ(plan->runs[0].Dir(), "runs/tiny/seed_1");
}

TEST_F(SweepPlanTest, TheExperimentsReadWithoutFault) {
  const std::pair<const char*, size_t> kLadders[] = {{"ladder", 6}, {"tiny", 4}};
  for (const auto& [name, sizes] : kLadders) {
    const auto plan = LoadSweep(absl::StrCat("experiments/scaling_laws/", name, ".yaml"));
    ASSERT_TRUE(plan.ok()) << plan.status();
    ASSERT_EQ(plan->runs.size(), 2 * sizes);
    EXPECT_TRUE(plan->device_given);
    // The families stand beside each other at every size.
    for (size_t i = 0; i < sizes; ++i) {
      EXPECT_NEAR(plan->runs[i + sizes].Flops() / plan->runs[i].Flops(), 1, 0.45);
    }
  }
  for (const auto& [name, runs] : {std::pair("real", 6u), std::pair("real_tiny", 4u)}) {
    const auto plan = LoadSweep(absl::StrCat("experiments/kimi_linear/", name, ".yaml"));
    ASSERT_TRUE(plan.ok()) << plan.status();
    ASSERT_EQ(plan->runs.size(), runs);
    for (const SweepRun& run : plan->runs) {
      EXPECT_EQ(run.Tokens(), plan->runs[0].Tokens());
      EXPECT_NEAR(run.Flops() / plan->runs[0].Flops(), 1, 0.25) << run.name;
    }
  }
  for (const char* name : {"four_layers", "mixers"}) {
    const auto config = LoadRunConfig(absl::StrCat("experiments/kimi_linear/", name, ".yaml"));
    EXPECT_TRUE(config.ok()) << config.status();
  }
}

TEST_F(SweepPlanTest, EveryFaultIsReportedAtOnce) {
  const std::string faults = Faults(R"(
set:
  model.hidden_size: = widht
  model.hiden: 3
  train.tokens: = 20 * parameters / (width - 32)
  schedule.peak: = schedule.final
  schedule.final: = schedule.peak / 10
  train.grad_clip: = 2 *
axes:
  - list: {schedule.warmup_steps: []}
  - list: {width: [32, 32]}
  - lsit: {a: [1]}
fit: {exclude: [{run: width_32}]}
)");
  ExpectParts(faults,
              {"sweep.yaml:6: model.hidden_size: unknown name 'widht'; did you mean 'width'?",
               "sweep.yaml:7: model.hiden: unknown key",
               "sweep.yaml:8: train.tokens: '20 * parameters / (width - 32)': division by zero: "
               "'width - 32' is 0",
               "sweep.yaml:10: schedule.final: its value depends on itself: schedule.final -> "
               "schedule.peak -> schedule.final",
               "sweep.yaml:11: set.train.grad_clip: '2 *': expected a number",
               "sweep.yaml:13: axes[0].list.schedule.warmup_steps: the axis is empty",
               "2 runs would share the folder '" + Path("sweep/width_32") + "'",
               "sweep.yaml:15: axes[2].lsit: unknown key; did you mean 'list'?",
               "fit.exclude[0].reason: a run is left out of the fit only with a stated reason"});
}

TEST_F(SweepPlanTest, FaultsOfOneKind) {
  const std::pair<const char*, const char*> kCases[] = {
      {"axes: [{list: {model.num_layers: [3, four]}}]",
       "model.num_layers: expected an integer, got 'four' (run num_layers_four)"},
      {"axes: [{list: {model.mixers.gdn.num_heds: [1, 2]}}]",
       "model.mixers.gdn.num_heds: unknown key; did you mean 'num_heads'?"},
      {"axes: [{zip: {optimizer.beta1: [0.8, 0.9], optimizer.beta2: [0.9]}}]",
       "has 1 values, optimizer.beta1 has 2"},
      {"axes: []", "axes: expected one axis at least"},
      {"axes: [{points: {}}]", "axes[0].points: the axis is empty"},
      {"axes: [{list: {run.seed: [1, 2]}}, {list: {run.seed: [3, 4]}}]", "run.seed: given by"},
      {"axes: [{list: {run.seed: [1, 1.0]}}]", "would share the folder"},
      {"run_name: all\naxes: [{list: {run.seed: [1, 2]}}]", "let run_name tell them apart"},
      {"run_name: \"{sede}\"\naxes: [{list: {run.seed: [1, 2]}}]", "run_name: unknown name 'sede'"},
      {"axes: [{list: {run.name: [a, b]}}]", "the sweep names its runs"},
      {"axes: [{list: {width: [1, 2]}}]", "width: a variable that nothing uses"},
      {"tables: {rate: {1: 2}}\naxes: [{list: {run.seed: [1, 2]}}]",
       "tables.rate: no expression uses it"},
      {"set: {schedule.peak: \"= rate[3]\"}\ntables: {rate: {1: 2, 4: 3}}\n"
       "axes: [{list: {run.seed: [1, 2]}}]",
       "the table 'rate' has no entry for 3; it has 1, 4"},
      {"set: {schedule.peak: \"= rat[3]\"}\ntables: {rate: {1: 2}}\n"
       "axes: [{list: {run.seed: [1, 2]}}]",
       "unknown table 'rat'; did you mean 'rate'?"},
      {"set: {run.seed: 3}\naxes: [{list: {run.seed: [1, 2]}}]", "set.run.seed: has no effect"},
      {"set: {train.steps: = parameters / 1e4}\naxes: [{list: {run.seed: [1, 2]}}]",
       "train.steps: expected an integer, got '"},
      {"set: {model.num_layers: \"= max(2, parameters / 1e9)\"}\n"
       "axes: [{list: {run.seed: [1, 2]}}]",
       "model.num_layers: its value depends on itself"},
      {"fit: {family: layot}\naxes: [{list: {run.seed: [1, 2]}}]",
       "fit.family: unknown name 'layot'"},
      {"fit: {exclude: [{run: sed_1, reason: x}]}\naxes: [{list: {run.seed: [1, 2]}}]",
       "no run is named 'sed_1'; did you mean 'seed_1'?"},
      {"slurm: {gpus: 8}\naxes: [{list: {run.seed: [1, 2]}}]", "slurm: expected gpus 0 or 1"},
      {"sets: {}\naxes: [{list: {run.seed: [1, 2]}}]", "sets: unknown key; did you mean 'set'?"},
  };
  for (const auto& [rest, expected] : kCases) ExpectParts(Faults(rest), {expected});
  const auto missing =
      LoadSweep(WriteText("other.yaml", "name: x\nbase: /nowhere.yaml\naxes: []\n"));
  ExpectParts(std::string(missing.status().message()), {"other.yaml:2: base: ", "/nowhere.yaml"});
}

}  // namespace
}  // namespace wyvern
