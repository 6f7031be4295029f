#include "trainer/bench/decode_bench.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/clock.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"
#include "layers/decode_graph.h"
#include "trainer/run/run_plan.h"

namespace wyvern {
namespace {

constexpr int64_t kWarmupTokens = 3, kObservedTokens = 3;
// A short context is read again until this much time has gone by.
constexpr double kPrefillSeconds = 5;
constexpr size_t kMostPrefills = 5;
// Ops on so many tokens take longer than the events around them, so that the readings which are
// timed can be observed too.
constexpr int64_t kLongOps = 8192;

double Median(std::vector<double> x) {
  if (x.empty()) return 0;
  std::sort(x.begin(), x.end());
  return (x[(x.size() - 1) / 2] + x[x.size() / 2]) / 2;
}

// One sequence of random tokens.
class Sequence {
 public:
  Sequence(Model* model, int64_t reserved)
      : model_(model), graph_(model, &cache_), queued_(model, &cache_, /*record=*/false) {
    cache_.Reserve(reserved);
  }

  // Consumes the next token and waits for the logits behind it, by a graph where the device has
  // such; else, as with `observed`, kernel by kernel.
  absl::Status Step(bool observed = false) {
    const std::vector<int32_t> ids = Next(1);
    return CheckLogits((observed ? queued_ : graph_).Step(ids));
  }

  // Consumes the next `count` tokens and waits for the logits behind the last one.
  absl::Status Advance(int64_t count) {
    const int64_t first = cache_.num_tokens();
    const std::vector<int32_t> ids = Next(count);
    Tape tape(/*recording=*/false);
    const Packing packing = Packing::FromDocuments({0, static_cast<int32_t>(count)},
                                                   model_->device(), static_cast<int32_t>(first));
    const Var hidden = model_->Hidden(tape, Tensor::FromVector(ids, {count}).To(model_->device()),
                                      packing, &cache_);
    return CheckLogits(hidden.value().Rows(count - 1, count));
  }

  // Consumes `count` tokens, `chunk` at a time.
  absl::Status Read(int64_t count, int64_t chunk) {
    for (int64_t done = 0; done < count; done += chunk) {
      RETURN_IF_ERROR(Advance(std::min(chunk, count - done)));
    }
    return absl::OkStatus();
  }

  DecodeCache& cache() { return cache_; }

 private:
  std::vector<int32_t> Next(int64_t count) const {
    const Random random(1, "decode bench");
    std::vector<int32_t> ids;
    for (int64_t i = cache_.num_tokens(); i < cache_.num_tokens() + count; ++i) {
      ids.push_back(static_cast<int32_t>(random.Below(
          static_cast<uint64_t>(i), static_cast<uint64_t>(model_->config().vocab_size))));
    }
    return ids;
  }

  // Takes the last token's output [1, D].
  absl::Status CheckLogits(const Tensor& hidden) const {
    for (const float x : model_->Logits(hidden).To(DType::kFloat32).ToVector<float>()) {
      if (std::isnan(x)) {
        return absl::InternalError(absl::StrCat("bench decode: the logits at position ",
                                                cache_.num_tokens() - 1, " are not numbers"));
      }
    }
    return absl::OkStatus();
  }

  Model* model_;
  DecodeCache cache_;
  DecodeGraph graph_, queued_;
};

// One context.
class Measurement {
 public:
  Measurement(Model* model, const DecodeBenchOptions& options, int64_t context)
      : model_(model),
        tokens_(options.tokens),
        reserved_(context + kWarmupTokens + options.tokens + 1 + kObservedTokens) {
    row_.context = context;
    row_.prefill_chunk =
        options.prefill_chunk > 0 ? std::min(options.prefill_chunk, context) : context;
    ResetPeakBytes(model->device());
    sequence_ = std::make_unique<Sequence>(model, reserved_);
  }

  absl::Status Prefill(const DeviceRates& rates) {
    const double begin = MonotonicSeconds();
    const bool observe_all = row_.prefill_chunk >= kLongOps;
    do {
      ASSIGN_OR_RETURN(const double seconds, ReadPrompt(observe_all ? &rates : nullptr));
      row_.prefill_ms.push_back(1e3 * seconds);
    } while (row_.prefill_ms.size() < kMostPrefills &&
             MonotonicSeconds() - begin < kPrefillSeconds);
    if (!observe_all) RETURN_IF_ERROR(ReadPrompt(&rates).status());
    for (const ClassTime& c : row_.prefill_classes) row_.prefill_flops += c.flops;
    return absl::OkStatus();
  }

  absl::Status FillRandom() {
    RETURN_IF_ERROR(sequence_->Advance(1));
    sequence_->cache().FillRandom(row_.context, 1);
    row_.random_cache = true;
    return absl::OkStatus();
  }

  absl::Status Decode(const DeviceRates& rates) {
    for (int64_t i = 0; i < kWarmupTokens; ++i) RETURN_IF_ERROR(sequence_->Step());
    for (int64_t i = 0; i < tokens_; ++i) {
      const double begin = MonotonicSeconds();
      RETURN_IF_ERROR(sequence_->Step());
      row_.token_ms.push_back(1e3 * (MonotonicSeconds() - begin));
    }
    OpTimer timer(model_->device());
    for (int64_t i = 0; i <= kObservedTokens; ++i) {
      ObserveRanges(&timer);
      const absl::Status status = sequence_->Step(/*observed=*/true);
      ObserveRanges(nullptr);
      RETURN_IF_ERROR(status);
      if (i == 0) timer.StartTiming();
    }
    row_.classes = SumByClass(timer.Take(), kObservedTokens, rates);
    row_.cache_bytes = sequence_->cache().num_bytes();
    row_.peak_bytes = GetMemoryStats(model_->device()).peak_bytes;
    return absl::OkStatus();
  }

  const DecodeRow& row() const { return row_; }

 private:
  // Reads the context from its first token on, in the seconds that are returned. With `rates` it is
  // observed.
  absl::StatusOr<double> ReadPrompt(const DeviceRates* rates) {
    sequence_.reset();  // its memory first
    sequence_ = std::make_unique<Sequence>(model_, reserved_);
    OpTimer timer(model_->device(), /*delays=*/false);
    timer.StartTiming();
    Synchronize(model_->device());
    const double start = MonotonicSeconds();
    if (rates != nullptr) ObserveRanges(&timer);
    const absl::Status status = sequence_->Read(row_.context, row_.prefill_chunk);
    ObserveRanges(nullptr);
    const double seconds = MonotonicSeconds() - start;
    RETURN_IF_ERROR(status);
    if (rates != nullptr) row_.prefill_classes = SumByClass(timer.Take(), 1, *rates);
    return seconds;
  }

  Model* model_;
  int64_t tokens_, reserved_;
  DecodeRow row_;
  std::unique_ptr<Sequence> sequence_;
};

}  // namespace

double DecodeRow::TokenMs() const { return Median(token_ms); }

double DecodeRow::PrefillMs() const {
  if (prefill_ms.size() < 2) return prefill_ms.empty() ? 0 : prefill_ms[0];
  return Median({prefill_ms.begin() + 1, prefill_ms.end()});
}

double DecodeRow::DeviceMs() const {
  double ms = 0;
  for (const ClassTime& c : classes) ms += c.ms;
  return ms;
}

std::string DecodeBench::Header() const {
  return absl::StrFormat(
      "%s (%d parameters), %s, one sequence\n%s\n%10s %10s %11s %11s %10s %9s %9s  %s\n", model,
      num_parameters, precision, rates.Describe(), "context", "ms/token", "of kernels",
      "prefill ms", "TFLOP/s", "cache MB", "peak GiB", "cache of");
}

std::string DecodeBench::Line(const DecodeRow& row) const {
  const double prefill = row.PrefillMs();
  std::string read = absl::StrFormat("%11s %10s", "-", "-");
  if (prefill > 0) {
    read = absl::StrFormat("%11.1f %10.1f", prefill, row.prefill_flops / (prefill * 1e-3) / 1e12);
  }
  return absl::StrFormat("%10d %10.3f %11.3f %s %9.1f %9.2f  %s\n", row.context, row.TokenMs(),
                         row.DeviceMs(), read, static_cast<double>(row.cache_bytes) / 1e6,
                         static_cast<double>(row.peak_bytes) / (1024.0 * 1024.0 * 1024.0),
                         row.random_cache ? "random numbers" : "the tokens read");
}

nlohmann::json DecodeBench::Json(const DecodeRow& row) const {
  const auto [least, most] = std::minmax_element(row.token_ms.begin(), row.token_ms.end());
  nlohmann::json json = {{"framework", "wyvern"},
                         {"model", model},
                         {"device", rates.device},
                         {"precision", precision},
                         {"parameters", num_parameters},
                         {"context", row.context},
                         {"random_cache", row.random_cache},
                         {"tokens", row.token_ms.size()},
                         {"token_ms", row.TokenMs()},
                         {"token_ms_min", *least},
                         {"token_ms_max", *most},
                         {"device_ms", row.DeviceMs()},
                         {"cache_bytes", row.cache_bytes},
                         {"peak_bytes", row.peak_bytes},
                         {"copy_bytes_per_s", rates.bytes}};
  if (!row.prefill_ms.empty()) {
    json["prefill_ms"] = row.PrefillMs();
    json["prefill_runs"] = row.prefill_ms.size();
    json["prefill_chunk"] = row.prefill_chunk;
    json["prefill_flops"] = row.prefill_flops;
    json["prefill_classes"] = ClassesJson(row.prefill_classes);
  }
  json["classes"] = ClassesJson(row.classes);
  return json;
}

absl::Status BenchDecode(const RunConfig& config, const DecodeBenchOptions& options,
                         const std::function<void(const DecodeBench&, const DecodeRow&)>& on_row) {
  for (const int64_t context : options.contexts) {
    if (context < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("bench decode: a context of ", context, " tokens; expected 1 or more"));
    }
  }
  RunConfig alone = config;  // on one device, whatever the mesh of the run
  alone.parallel = {};
  ASSIGN_OR_RETURN(const RunPlan plan, ResolveRun(alone));
  SetOutOfMemoryAdvice("take a shorter context, or read it in smaller chunks (--prefill-chunk)");
  DecodeBench bench;
  bench.model = config.run.name;
  bench.precision = plan.compute == DType::kBf16 ? "bf16" : "fp32";
  bench.rates = MeasureRates(plan.device);
  const std::unique_ptr<Model> model =
      Model::Create(config.model, plan.device, plan.compute, /*trainable=*/false);
  model->Initialize(config.run.seed);
  bench.num_parameters = model->num_parameters();
  double seconds_per_square = 0;  // of the last context that was read
  for (const int64_t context : options.contexts) {
    Measurement measurement(model.get(), options, context);
    const double square = static_cast<double>(context) * static_cast<double>(context);
    const bool in_time =
        options.prefill_seconds == 0 || seconds_per_square * square <= options.prefill_seconds;
    if (options.prefill && in_time) {
      RETURN_IF_ERROR(measurement.Prefill(bench.rates));
      seconds_per_square = 1e-3 * measurement.row().PrefillMs() / square;
    } else {
      RETURN_IF_ERROR(measurement.FillRandom());
    }
    RETURN_IF_ERROR(measurement.Decode(bench.rates));
    on_row(bench, measurement.row());
  }
  return absl::OkStatus();
}

}  // namespace wyvern
