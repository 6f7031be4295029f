#include "trainer/bench/step_bench.h"

#include <gtest/gtest.h>

#include <thread>

#include "kernels/common/delay.h"
#include "kernels/runtime/dispatch.h"
#include "tests/trainer/run_fixture.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/optimizer/schedule.h"
#include "trainer/plan/flops.h"

namespace wyvern {
namespace {

RunConfig TinyRun() {
  return TinyRunConfig(64, {.steps = 100, .batch_tokens = 128, .micro_batch = 2});
}

double Sum(const StepBench& bench, Pass pass, double ClassTime::*figure) {
  double sum = 0;
  for (const ClassTime& c : bench.classes) sum += c.pass == pass ? c.*figure : 0;
  return sum;
}

TEST(StepBench, AccountsForAStepOfTheModel) {
  RunConfig config = TinyRun();
  config.train.recompute = RecomputePolicy::kNone;
  const auto bench =
      BenchStep(config, {.micro_batches = 2, .warmup = 2, .steps = 3}, World::Single().get());
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(bench->step_ms.size(), 3u);
  EXPECT_EQ(bench->num_updates, 2 + 3 + 4);
  EXPECT_EQ(bench->num_parameters, CountParameters(config.model));
  // The tape's count, 2 micro batches of 2 x 64 tokens; the op classes hold the same products.
  EXPECT_DOUBLE_EQ(bench->flops, FlopsPerToken(config.model, 64).training * 256);
  const double forward = Sum(*bench, Pass::kForward, &ClassTime::flops);
  const double backward = Sum(*bench, Pass::kBackward, &ClassTime::flops);
  EXPECT_NEAR((forward + backward) / bench->flops, 1, 1e-9);
  EXPECT_NEAR(bench->first_loss, std::log(50.0), 3);
  EXPECT_EQ(Sum(*bench, Pass::kRecompute, &ClassTime::ms), 0);
  for (const ClassTime& c : bench->classes) {
    EXPECT_NE(c.name, "other");
    EXPECT_GT(c.ms, 0) << c.name << " " << Name(c.pass);
    if (c.name == "head, cross-entropy") {  // its gradients are made in the forward
      const double head = 2.0 * 256 * 50 * static_cast<double>(config.model.hidden_size);
      EXPECT_DOUBLE_EQ(c.flops, c.pass == Pass::kForward ? 3 * head : 0);
    }
    EXPECT_TRUE(c.bytes > 0 || c.name == "zeroing, copies") << c.name << " " << Name(c.pass);
  }
  double inside = 0;
  for (const ClassTime& c : bench->classes) inside += c.ms;
  // The time outside is a difference, and rounded as the larger of the two.
  EXPECT_NEAR(inside + bench->OutsideMs(), bench->MedianMs(), 1e-9 * (inside + bench->MedianMs()));
  EXPECT_GT(bench->first_step_seconds, 1e-3);
  EXPECT_LT(bench->first_step_seconds, 3600);
  EXPECT_GT(bench->peak_bytes, 16 * bench->num_parameters);
  EXPECT_EQ(bench->Mfu(), 0) << "a CPU has no data sheet here";
}

TEST(StepBench, TellsRecomputationFromTheForward) {
  RunConfig config = TinyRun();
  config.train.recompute_blocks = config.model.num_layers;
  const auto bench = BenchStep(config, {.warmup = 1, .steps = 1}, World::Single().get());
  ASSERT_TRUE(bench.ok()) << bench.status();
  const double forward = Sum(*bench, Pass::kForward, &ClassTime::flops);
  const double again = Sum(*bench, Pass::kRecompute, &ClassTime::flops);
  double head = 0;
  for (const ClassTime& c : bench->classes) {
    if (c.name == "head, cross-entropy" && c.pass == Pass::kForward) head = c.flops;
  }
  EXPECT_GT(head, 0);
  EXPECT_NEAR(again / (forward - head), 1, 1e-9);
  // Not counted as progress.
  const double backward = Sum(*bench, Pass::kBackward, &ClassTime::flops);
  EXPECT_NEAR((forward + backward) / bench->flops, 1, 1e-9);
}

TEST(StepBench, SumsClassesPerStepWithTheirBounds) {
  const DeviceRates rates = {.device = "d", .bytes = 1e9, .flops = 1e12};
  // Bound by 2 ms of FLOPs, by 3 ms of bytes; the third in another pass.
  const auto classes = SumByClass({{"matmul", WorkClass::kMatmul, Pass::kForward, {2e9, 1e6}, 5},
                                   {"matmul", WorkClass::kMatmul, Pass::kForward, {1e9, 3e6}, 7},
                                   {"matmul", WorkClass::kMatmul, Pass::kBackward, {1e9, 0}, 4}},
                                  2, rates);
  ASSERT_EQ(classes.size(), 2u);
  EXPECT_EQ(classes[0].name, "matrix products");
  EXPECT_DOUBLE_EQ(classes[0].ms, 6);
  EXPECT_DOUBLE_EQ(classes[0].num_ranges, 1);
  EXPECT_DOUBLE_EQ(classes[0].flops, 1.5e9);
  EXPECT_DOUBLE_EQ(classes[0].bound_ms, 2.5);
  EXPECT_EQ(classes[1].pass, Pass::kBackward);
  EXPECT_DOUBLE_EQ(classes[1].bound_ms, 0.5);
}

TEST(OpTimer, ChargesTheInnerRangeAlone) {
  OpTimer timer(Device::kCpu);
  timer.Begin("learnt", WorkClass::kOther, Pass::kForward);
  timer.End({});
  timer.StartTiming();
  const auto sleep = [](int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); };
  timer.Begin("outer", WorkClass::kOther, Pass::kBackward);
  sleep(2);
  timer.Begin("inner", WorkClass::kOther, Pass::kForward);
  sleep(40);
  timer.End({.flops = 1});
  sleep(2);
  timer.End({.bytes = 2});
  const auto ranges = timer.Take();
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_STREQ(ranges[0].name, "outer");
  EXPECT_EQ(ranges[0].work.bytes, 2);
  EXPECT_GT(ranges[0].ms, 3.9);
  EXPECT_LT(ranges[0].ms, ranges[1].ms);
  EXPECT_GT(ranges[1].ms, 39.9);
  EXPECT_EQ(ranges[1].work.flops, 1);
  EXPECT_TRUE(timer.Take().empty());
}

TEST(OpTimer, TimesTheWorkOnTheDevice) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  OpTimer timer(Device::kCuda);
  timer.StartTiming();
  timer.Begin("empty", WorkClass::kOther, Pass::kForward);
  timer.End({});
  timer.Begin("delay", WorkClass::kOther, Pass::kForward);
  Dispatch(Device::kCuda, DType::kFloat32,
           [](auto tag, auto) { QueueDelay(tag, 2000, ComputeStream()); });
  timer.End({});
  const auto ranges = timer.Take();
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_LT(ranges[0].ms, 0.02);
  EXPECT_GT(ranges[1].ms, 1.99);
  EXPECT_LT(ranges[1].ms, 3);
}

class StepBenchCommand : public RunTest {};

TEST_F(StepBenchCommand, PrintsATableOrOneJsonObject) {
  const std::vector<std::string> args = {"bench",       "step",    Path("config.yaml"),
                                         "--sequences", "2",       "--seq-len",
                                         "48",          "--steps", "2",
                                         "--warmup",    "1"};
  const ProcessResult table = Wyvern(args);
  ASSERT_EQ(table.exit_code, 0) << table.err;
  for (const char* part : {"tiny (", "2 x 48 tokens", "tokens/s", "peak memory", "matrix products",
                           "delta rule", "outside, launch gaps"}) {
    EXPECT_NE(table.out.find(part), std::string::npos) << part << " is not in:\n" << table.out;
  }
  std::vector<std::string> more = args;
  more.insert(more.end(), {"--json", "--set", "train.recompute_blocks=2"});
  const ProcessResult line = Wyvern(more);
  ASSERT_EQ(line.exit_code, 0) << line.err;
  const auto json = nlohmann::json::parse(line.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << line.out;
  EXPECT_EQ(json["recompute_blocks"], 2);
  EXPECT_EQ(json["set"].dump(), R"(["train.recompute_blocks=2"])");
  EXPECT_EQ(json["seq_len"], 48);
  EXPECT_NEAR(json["tokens_per_s"].get<double>() * json["step_ms"].get<double>(), 96e3, 1);
  EXPECT_FALSE(json.contains("mfu"));
  // Nothing was read or written.
  EXPECT_FALSE(std::filesystem::exists(Path("store_a")));
  EXPECT_FALSE(std::filesystem::exists(Path("run")));
}

}  // namespace
}  // namespace wyvern
