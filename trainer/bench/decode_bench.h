// Times the reading of a prompt and the decoding behind it, over the length of the context.
#ifndef WYVERN_TRAINER_BENCH_DECODE_BENCH_H_
#define WYVERN_TRAINER_BENCH_DECODE_BENCH_H_

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/bench/step_bench.h"
#include "trainer/config/run_config.h"

namespace wyvern {

struct DecodeBenchOptions {
  std::vector<int64_t> contexts;  // tokens before the decoded ones, each 1 or more
  int64_t tokens = 16;            // decoded and measured, behind each context
  bool prefill = false;           // read the context's tokens; else its cache is random
  int64_t prefill_chunk = 0;      // tokens of one forward; 0: all of them
  // A context that is expected to take longer to read, by the square of its length from one that
  // was read before, gets a random cache. 0: no limit.
  double prefill_seconds = 0;
};

// The times of one context.
struct DecodeRow {
  int64_t context = 0;
  bool random_cache = false;       // filled with random numbers instead of a prompt's
  std::vector<double> prefill_ms;  // of each reading, on the host's clock; empty: not read
  double prefill_flops = 0;        // necessary FLOPs of one
  std::vector<ClassTime> prefill_classes;
  int64_t prefill_chunk = 0;
  // The time of each decoded token, on the host's clock: its id to the device, the model, its
  // logits back.
  std::vector<double> token_ms;
  int64_t cache_bytes = 0;  // of the context and the decoded tokens
  int64_t peak_bytes = 0;
  std::vector<ClassTime> classes;  // of one more token

  double TokenMs() const;    // median
  double PrefillMs() const;  // median of the readings but the first, if there are more; 0: none
  double DeviceMs() const;   // of the classes
};

struct DecodeBench {
  std::string model, precision;
  int64_t num_parameters = 0;
  DeviceRates rates;

  std::string Header() const;
  std::string Line(const DecodeRow& row) const;
  nlohmann::json Json(const DecodeRow& row) const;  // one flat object, `classes` a list
};

// Makes the configuration's model with its initial values, without anything that training needs,
// and calls `on_row` after each context, in their order. No file is read. One sequence at a time.
// Errors: the device is absent, a context is empty, logits that are not numbers.
absl::Status BenchDecode(const RunConfig& config, const DecodeBenchOptions& options,
                         const std::function<void(const DecodeBench&, const DecodeRow&)>& on_row);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_BENCH_DECODE_BENCH_H_
