#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/check/op_registry.h"
#include "data/io/json.h"
#include "kernels/runtime/gpu.h"
#include "kernels/runtime/nearest.h"
#include "kernels/runtime/status.h"
#include "trainer/bench/agreement_bench.h"
#include "trainer/bench/decode_bench.h"
#include "trainer/bench/device_rates.h"
#include "trainer/bench/op_shape.h"
#include "trainer/bench/step_bench.h"
#include "trainer/bench/tokenizer_bench.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/compute_target.h"
#include "trainer/commands/on_ranks.h"
#include "trainer/commands/usage.h"
#include "trainer/config/load.h"

namespace wyvern {
namespace {

nlohmann::json ToJson(const BenchResult& r, const DeviceRates& rates) {
  return {{"framework", "wyvern"},
          {"device", rates.device},
          {"op", r.op},
          {"case", r.case_name},
          {"direction", r.direction},
          {"ms", r.ms},
          {"flops", r.flops},
          {"bytes", r.bytes},
          {"bound_ms", rates.BoundMs(r.flops, r.bytes)}};
}

struct OpsOptions {
  std::string device = "auto", op, shape;
  bool explain = false, json = false;
};

absl::StatusOr<std::vector<OpRow>> ChooseOps(const OpsOptions& options) {
  if (options.op.empty()) {
    if (options.shape.empty()) return OpRegistry();
    return absl::InvalidArgumentError("bench: --shape gives the sizes of one op; name it by --op");
  }
  std::vector<std::string> names;
  for (const OpRow& row : OpRegistry()) {
    if (row.name == options.op) return std::vector<OpRow>{row};
    names.push_back(row.name);
  }
  const std::string nearest = Nearest(options.op, names);
  return absl::NotFoundError(absl::StrCat(
      "bench: no op is named '", options.op, "'",
      nearest.empty() ? std::string() : absl::StrCat("; did you mean '", nearest, "'?")));
}

struct OpCase {
  OpRow row;
  BenchShape shape;
  std::string name;  // of a shape that the command line gives; empty: the case has one
};

absl::StatusOr<std::vector<OpCase>> ChooseCases(const OpsOptions& options, Device device) {
  ASSIGN_OR_RETURN(const std::vector<OpRow> rows, ChooseOps(options));
  std::vector<OpCase> cases;
  for (const OpRow& row : rows) {
    const std::vector<BenchShape> shapes = row.bench_shapes(device);
    if (!options.shape.empty()) {
      ASSIGN_OR_RETURN(const BenchShape shape, ParseBenchShape(options.shape, row.name, shapes[0]));
      return std::vector<OpCase>{{row, shape, shape.ToString()}};
    }
    for (const BenchShape& shape : shapes) cases.push_back({row, shape, ""});
  }
  return cases;
}

void PrintPlan(const BenchPlan& p, const std::string& case_name, const GpuInfo& gpu, bool json) {
  if (json) {
    const nlohmann::json row = {
        {"framework", "wyvern"},    {"device", gpu.name}, {"op", p.op},    {"case", case_name},
        {"direction", p.direction}, {"kernel", p.kernel}, {"plan", p.plan}};
    std::printf("%s\n", JsonText(row).c_str());
  } else {
    std::printf("%-21s %-44s %-9s %s: %s\n", p.op.c_str(), case_name.c_str(), p.direction.c_str(),
                p.kernel.c_str(), p.plan.c_str());
  }
}

// Without a GPU the meta device stands for one.
absl::Status ExplainOps(const OpsOptions& options, Device device) {
  if (device != Device::kCuda) device = Device::kMeta;
  ASSIGN_OR_RETURN(const std::vector<OpCase> cases, AsUsage(ChooseCases(options, device)));
  const GpuInfo& gpu = device == Device::kCuda ? CurrentGpu() : MetaGpu();
  if (!options.json) {
    std::printf("paths on an %s, %d SMs, compute capability %d.%d\n%-21s %-44s %-9s %s\n",
                gpu.name.c_str(), gpu.num_sms, gpu.major, gpu.minor, "op", "case", "direction",
                "kernel: path");
  }
  for (const OpCase& c : cases) {
    ASSIGN_OR_RETURN(const std::vector<BenchPlan> plans, AsUsage(c.row.explain(c.shape, device)));
    for (const BenchPlan& p : plans) {
      PrintPlan(p, c.name.empty() ? p.case_name : c.name, gpu, options.json);
    }
  }
  return absl::OkStatus();
}

absl::Status TimeOps(const OpsOptions& options, Device device) {
  ASSIGN_OR_RETURN(const std::vector<OpCase> cases, AsUsage(ChooseCases(options, device)));
  const DeviceRates rates = MeasureRates(device);
  if (!options.json) {
    std::printf("%s\n%-21s %-44s %-9s %10s %13s %15s\n", rates.Describe().c_str(), "op", "case",
                "direction", "ms", "% byte bound", "% FLOP bound");
  }
  for (const OpCase& c : cases) {
    ASSIGN_OR_RETURN(std::vector<BenchResult> results, AsUsage(c.row.bench(c.shape, device)));
    for (BenchResult& r : results) {
      if (!c.name.empty()) r.case_name = c.name;
      if (options.json) {
        std::printf("%s\n", JsonText(ToJson(r, rates)).c_str());
        continue;
      }
      const double seconds = r.ms / 1e3;
      std::printf("%-21s %-44s %-9s %10.4f %13.1f %15.1f\n", r.op.c_str(), r.case_name.c_str(),
                  r.direction.c_str(), r.ms, 100 * r.bytes / rates.bytes / seconds,
                  100 * r.flops / rates.flops / seconds);
    }
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

absl::Status BenchOps(const OpsOptions& options) {
  ASSIGN_OR_RETURN(const ComputeTarget target, ChooseComputeTarget({.device = options.device}));
  return options.explain ? ExplainOps(options, target.device) : TimeOps(options, target.device);
}

void AddOps(CLI::App* bench, int* exit_code) {
  auto options = std::make_shared<OpsOptions>();
  CLI::App* ops = bench->add_subcommand(
      "ops", "Time every op, as a share of what its bytes and its FLOPs allow");
  ops->add_option("--device", options->device, "auto (the GPU if there is one), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  ops->add_option("--op", options->op, "Only the op of this name");
  ops->add_option("--shape", options->shape,
                  "key=value,...: time the op at these sizes; others keep those of its first case");
  ops->add_flag(
      "--explain", options->explain,
      "Print the path that each kernel takes, instead of times; without a GPU, on an H200");
  ops->add_flag("--json", options->json, "One JSON object a line");
  ops->callback([=] { *exit_code = ExitCode(BenchOps(*options)); });
}

absl::Status BenchSteps(const std::string& path, const std::vector<std::string>& sets,
                        const StepBenchOptions& options, bool json) {
  ASSIGN_OR_RETURN(const RunConfig config, AsUsage(LoadRunConfig(path, sets)));
  ASSIGN_OR_RETURN(const std::unique_ptr<World> world, ConnectRanks(config));
  ASSIGN_OR_RETURN(const StepBench bench, BenchStep(config, options, world.get()));
  if (world->rank() != 0) return absl::OkStatus();
  if (json) {
    nlohmann::json row = bench.Json();
    row["set"] = sets;
    std::printf("%s\n", JsonText(row).c_str());
  } else {
    std::printf("%s", bench.Table().c_str());
  }
  return absl::OkStatus();
}

void AddStep(CLI::App* bench, int* exit_code) {
  struct Options {
    std::string path;
    std::vector<std::string> sets;
    StepBenchOptions step;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* step = bench->add_subcommand(
      "step", "Time training steps on random tokens, and each class of ops within them");
  step->add_option("CONFIG", options->path, "YAML file; its data are not read")->required();
  step->add_option("--set", options->sets, "key=value: overrides a key of the file");
  const auto count = [&](const char* name, int64_t* value, const char* help) {
    step->add_option(name, *value, help)->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  };
  count("--sequences", &options->step.sequences,
        "Sequences of a micro batch (default train.micro_batch)");
  count("--seq-len", &options->step.seq_len, "Tokens of a sequence (default data.seq_len)");
  count("--micro-batches", &options->step.micro_batches, "Micro batches of a step (default 1)");
  count("--steps", &options->step.steps, "Measured steps (default 10)");
  count("--warmup", &options->step.warmup, "Steps before them (default 3)");
  step->add_flag("--json", options->json, "One JSON object instead of tables");
  step->callback([=] {
    *exit_code = ExitCode(BenchSteps(options->path, options->sets, options->step, options->json));
  });
}

absl::Status BenchDecoding(const std::string& path, const std::vector<std::string>& sets,
                           const DecodeBenchOptions& options, bool json) {
  ASSIGN_OR_RETURN(const RunConfig config, AsUsage(LoadRunConfig(path, sets)));
  bool first = true;
  return BenchDecode(config, options, [&](const DecodeBench& bench, const DecodeRow& row) {
    if (json) {
      std::printf("%s\n", JsonText(bench.Json(row)).c_str());
    } else {
      std::printf("%s%s", first ? bench.Header().c_str() : "", bench.Line(row).c_str());
    }
    first = false;
    std::fflush(stdout);
  });
}

void AddDecode(CLI::App* bench, int* exit_code) {
  struct Options {
    std::string path;
    std::vector<std::string> sets;
    DecodeBenchOptions decode;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  DecodeBenchOptions& decode = options->decode;
  CLI::App* command = bench->add_subcommand(
      "decode", "Time decoded tokens, and the reading of a prompt, over the length of the context");
  const CLI::Range positive(int64_t{1}, int64_t{1} << 30);
  command->add_option("CONFIG", options->path, "YAML file; its data are not read")->required();
  command->add_option("--set", options->sets, "key=value: overrides a key of the file");
  command->add_option("--context", decode.contexts, "Tokens before the decoded ones, one or more")
      ->required()
      ->check(positive);
  command->add_option("--tokens", decode.tokens, "Decoded tokens behind each context (default 16)")
      ->check(positive);
  command->add_flag("--prefill", decode.prefill,
                    "Read a prompt of that length and time it; without, the cache is filled with "
                    "random numbers");
  command
      ->add_option("--prefill-chunk", decode.prefill_chunk,
                   "Tokens of one forward (default: all); fewer need less memory")
      ->check(positive);
  command
      ->add_option("--prefill-seconds", decode.prefill_seconds,
                   "Do not read what would take longer, by the length's square (default: no limit)")
      ->check(CheckPositive);
  command->add_flag("--json", options->json, "One JSON object a context");
  command->callback([=] {
    *exit_code =
        ExitCode(BenchDecoding(options->path, options->sets, options->decode, options->json));
  });
}

absl::Status BenchTokenizers(const std::string& name, const TokenizerSettings& settings,
                             const TextSourceOptions& source, double megabytes, int passes,
                             int num_threads, bool json) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(name, settings));
  ASSIGN_OR_RETURN(const TokenizerBench bench,
                   BenchTokenizer(*tokenizer, source, static_cast<int64_t>(megabytes * 1e6), passes,
                                  num_threads));
  if (!json) {
    std::printf("%s\n", bench.ToString().c_str());
    return absl::OkStatus();
  }
  const nlohmann::json row = {{"documents", bench.documents},
                              {"bytes", bench.bytes},
                              {"ids", bench.ids},
                              {"threads", bench.num_threads},
                              {"seconds", bench.seconds},
                              {"cpu_seconds", bench.cpu_seconds}};
  std::printf("%s\n", JsonText(row).c_str());
  return absl::OkStatus();
}

void AddTokenizer(CLI::App* bench, int* exit_code) {
  struct Options {
    std::string tokenizer;
    TokenizerSettings settings;
    TextSourceOptions source;
    double megabytes = 64;
    int passes = 3, num_threads = 1;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      bench->add_subcommand("tokenizer", "Time a tokenizer on text that lies in memory");
  command
      ->add_option("TOKENIZER", options->tokenizer,
                   "byte, or a SentencePiece model, a tokenizer.json, a tiktoken file, or their "
                   "folder")
      ->required();
  command
      ->add_option("--input", options->source.paths,
                   "Files and folders of text, as `wyvern data prepare` reads them")
      ->required();
  command->add_option("--pattern", options->settings.pattern,
                      "How text is divided for a tiktoken file");
  command->add_option("--megabytes", options->megabytes, "Text used at most (default 64)")
      ->check(CLI::Range(1e-6, 1e5));
  command->add_option("--passes", options->passes, "The fastest of so many counts (default 3)")
      ->check(CLI::Range(1, 1000));
  command->add_option("--threads", options->num_threads, "0: every core (default 1)")
      ->check(CLI::Range(0, 4096));
  command->add_flag("--json", options->json, "One JSON object");
  command->callback([=] {
    *exit_code = ExitCode(BenchTokenizers(options->tokenizer, options->settings, options->source,
                                          options->megabytes, options->passes, options->num_threads,
                                          options->json));
  });
}

absl::Status BenchAgreements(int repeats, bool json, World* world) {
  ASSIGN_OR_RETURN(const AgreementBench bench, BenchAgreement(world, repeats));
  if (world->rank() != 0) return absl::OkStatus();
  std::printf("%s\n", json ? JsonText(bench.Json()).c_str() : bench.ToString().c_str());
  return absl::OkStatus();
}

void AddAgreement(CLI::App* bench, int* exit_code) {
  struct Options {
    int repeats = 9;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = bench->add_subcommand(
      "agreement", "Time what ranks tell each other once a step; start it on several ranks");
  command->add_option("--repeats", options->repeats, "The median of so many times (default 9)")
      ->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "One JSON object");
  command->callback([=] {
    *exit_code = OnAllRanks(
        [&](World* world) { return BenchAgreements(options->repeats, options->json, world); });
  });
}

}  // namespace

void AddBenchCommand(CLI::App& app, int* exit_code) {
  CLI::App* bench = app.add_subcommand("bench", "Measure speed");
  bench->require_subcommand(1);
  AddOps(bench, exit_code);
  AddStep(bench, exit_code);
  AddDecode(bench, exit_code);
  AddTokenizer(bench, exit_code);
  AddAgreement(bench, exit_code);
}

}  // namespace wyvern
