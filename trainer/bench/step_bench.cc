#include "trainer/bench/step_bench.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/clock.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"
#include "trainer/loop/train_step.h"
#include "trainer/optimizer/schedule.h"
#include "trainer/run/engine.h"

namespace wyvern {
namespace {

constexpr int64_t kObservedSteps = 3;

// Since the kernel started this process; it keeps its age when it replaces its program by exec.
double ProcessAgeSeconds() {
  const std::string stat = ReadFile("/proc/self/stat").value_or("");
  // The 22nd field; the second one, the name in parentheses, may hold spaces.
  const size_t name_end = stat.rfind(')');
  unsigned long long start_ticks = 0;
  if (name_end == std::string::npos ||
      std::sscanf(stat.c_str() + name_end + 1,
                  " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                  "%llu",
                  &start_ticks) != 1) {
    return 0;
  }
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) -
         static_cast<double>(start_ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Each target is the next random token, even behind the end of a sequence.
Batch RandomBatch(const StepBenchOptions& options, int64_t vocab, uint64_t number) {
  const Random random(number, "step bench");
  const auto draw = [&](int64_t t) {
    return static_cast<int32_t>(
        random.Below(static_cast<uint64_t>(t), static_cast<uint64_t>(vocab)));
  };
  Batch batch{.cu_seqlens = EqualSequences(options.sequences, options.seq_len)};
  for (int64_t t = 0; t < options.sequences * options.seq_len; ++t) {
    batch.tokens.push_back(draw(t));
    batch.targets.push_back(draw(t + 1));
  }
  return batch;
}

}  // namespace

double StepBench::MedianMs() const {
  std::vector<double> sorted = step_ms;
  std::sort(sorted.begin(), sorted.end());
  const size_t n = sorted.size();
  return n == 0 ? 0 : (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

double StepBench::TokensPerSecond() const {
  return static_cast<double>(num_readers * options.micro_batches * options.sequences *
                             options.seq_len) /
         (MedianMs() * 1e-3);
}

double StepBench::Mfu() const {
  return rates.data_sheet ? flops / (MedianMs() * 1e-3) / rates.flops : 0;
}

double StepBench::OutsideMs() const {
  double outside = MedianMs();
  for (const ClassTime& c : classes) outside -= c.ms;
  return outside;
}

absl::StatusOr<StepBench> BenchStep(const RunConfig& config, const StepBenchOptions& options,
                                    World* world) {
  StepBench bench;
  bench.model = config.run.name;
  bench.options = options;
  if (options.sequences == 0)
    bench.options.sequences = std::max<int64_t>(config.train.micro_batch, 1);
  if (options.seq_len == 0) bench.options.seq_len = config.data.seq_len;
  bench.recompute_blocks = config.train.recompute_blocks;

  ASSIGN_OR_RETURN(const RunPlan plan, ResolveRunOnRanks(config, world, /*own_batches=*/true));
  bench.precision = plan.compute == DType::kBf16 ? "bf16" : "fp32";
  ASSIGN_OR_RETURN(Engine engine, MakeEngine(plan, world));
  Model* model = engine.model.get();
  const Mesh* mesh = engine.mesh.get();
  if (mesh != nullptr) {
    bench.num_ranks = world->size();
    bench.num_readers = plan.num_data_ranks();
    bench.mesh =
        absl::StrCat("replicate ", plan.mesh.replicate, ", shard ", plan.mesh.shard, " (zero ",
                     config.parallel.zero, ")",
                     plan.mesh.context == 1 ? "" : absl::StrCat(", context ", plan.mesh.context),
                     plan.mesh.expert == 1 ? "" : absl::StrCat(", expert ", plan.mesh.expert));
  }
  bench.state_bytes = GetMemoryStats(plan.device).current_bytes;
  model->Initialize(config.run.seed);
  bench.num_parameters = model->num_parameters();
  const Schedule schedule(plan.stages.front());
  const auto step = [&]() -> absl::StatusOr<StepResult> {
    std::vector<Batch> batches;
    for (int64_t i = 0; i < options.micro_batches; ++i) {
      batches.push_back(
          RandomBatch(bench.options, config.model.vocab_size,
                      static_cast<uint64_t>((bench.num_updates * options.micro_batches + i) *
                                                bench.num_readers +
                                            (mesh == nullptr ? 0 : mesh->data_index()))));
    }
    const double begin = MonotonicSeconds();
    const StepResult result =
        TrainStep(model, engine.optimizer.get(), batches, schedule.RateAt(bench.num_updates),
                  config.train.grad_clip, bench.num_updates + 1, engine.parallel.get());
    bench.step_ms.push_back(1e3 * (MonotonicSeconds() - begin));
    if (!result.updated) {
      return absl::InternalError(absl::StrCat(
          "bench step: step ", bench.num_updates + 1, ": ",
          DescribeNonFinite(model, result, batches, engine.parallel.get()), " is not finite"));
    }
    ++bench.num_updates;
    return result;
  };

  ASSIGN_OR_RETURN(StepResult result, step());
  bench.first_step_seconds = ProcessAgeSeconds();
  bench.first_loss = result.loss;
  bench.flops = result.flops;
  for (int64_t i = 1; i < options.warmup; ++i) RETURN_IF_ERROR(step().status());
  bench.step_ms.clear();
  for (int64_t i = 0; i < options.steps; ++i) {
    ASSIGN_OR_RETURN(result, step());
  }
  bench.last_loss = result.loss;
  bench.peak_bytes = GetMemoryStats(plan.device).peak_bytes;
  const std::vector<double> measured = bench.step_ms;

  std::vector<TimedRange> ranges;
  {
    OpTimer timer(plan.device);
    for (int64_t i = 0; i <= kObservedSteps; ++i) {
      ObserveRanges(&timer);
      const auto observed = step();
      ObserveRanges(nullptr);
      RETURN_IF_ERROR(observed.status());
      if (i == 0) {
        timer.StartTiming();
        continue;
      }
      const std::vector<TimedRange> more = timer.Take();
      ranges.insert(ranges.end(), more.begin(), more.end());
    }
  }
  bench.step_ms = measured;
  // The work that follows may need the memory.
  engine.optimizer.reset();
  engine.parallel.reset();
  engine.model.reset();
  bench.rates = MeasureRates(plan.device);
  bench.classes = SumByClass(ranges, kObservedSteps, bench.rates);
  return bench;
}

}  // namespace wyvern
