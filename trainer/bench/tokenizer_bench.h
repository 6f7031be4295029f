// Times a tokenizer on text in memory.
#ifndef WYVERN_TRAINER_BENCH_TOKENIZER_BENCH_H_
#define WYVERN_TRAINER_BENCH_TOKENIZER_BENCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/text/text_source.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

struct TokenizerBench {
  int64_t documents = 0, bytes = 0, ids = 0;  // of one pass
  int num_threads = 1;
  // The fastest pass: on the clock, and of all threads' processors together.
  double seconds = 0, cpu_seconds = 0;

  std::string ToString() const;  // one line
};

// Encodes the first `max_bytes` of the source's documents, `passes` times, on `num_threads` threads
// (0: every core). Each pass encodes all of them anew, with caches as the one before left them.
// Errors: those of the source; no text.
absl::StatusOr<TokenizerBench> BenchTokenizer(const Tokenizer& tokenizer,
                                              const TextSourceOptions& source, int64_t max_bytes,
                                              int passes, int num_threads);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_BENCH_TOKENIZER_BENCH_H_
