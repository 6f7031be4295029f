#include "trainer/bench/tokenizer_bench.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "data/tokenizer/tokenize.h"
#include "kernels/runtime/catch.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Seconds of a processor that this thread has used.
double ThreadSeconds() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

absl::StatusOr<std::vector<std::string>> ReadDocuments(const TextSourceOptions& options,
                                                       int64_t max_bytes) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TextSource> source,
                   TextSource::Open(options, LongDocuments::kInPieces));
  std::vector<std::string> documents;
  TextPiece piece;
  for (int64_t bytes = 0; bytes < max_bytes;) {
    ASSIGN_OR_RETURN(const bool found, source->Next(&piece));
    if (!found) break;
    bytes += static_cast<int64_t>(piece.text.size());
    documents.push_back(std::move(piece.text));
  }
  if (documents.empty()) return absl::InvalidArgumentError("no text to encode");
  return documents;
}

struct ThreadWork {
  absl::Status status;
  int64_t ids = 0;
  double cpu_seconds = 0;
};

}  // namespace

absl::StatusOr<TokenizerBench> BenchTokenizer(const Tokenizer& tokenizer,
                                              const TextSourceOptions& source, int64_t max_bytes,
                                              int passes, int num_threads) {
  ASSIGN_OR_RETURN(const std::vector<std::string> documents, ReadDocuments(source, max_bytes));
  TokenizerBench bench;
  bench.documents = static_cast<int64_t>(documents.size());
  bench.num_threads = ThreadCount(num_threads);
  for (const std::string& document : documents) {
    bench.bytes += static_cast<int64_t>(document.size());
  }
  for (int pass = 0; pass < passes; ++pass) {
    std::vector<ThreadWork> works(static_cast<size_t>(bench.num_threads));
    std::atomic<size_t> next{0};
    const auto encode = [&](ThreadWork* work) {
      const double begin = ThreadSeconds();
      work->status = CatchAll([&] {
        for (size_t i; (i = next++) < documents.size();) {
          work->ids += static_cast<int64_t>(tokenizer.Encode(documents[i]).size());
        }
        return absl::OkStatus();
      });
      work->cpu_seconds = ThreadSeconds() - begin;
    };
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    const absl::Status started = CatchAll([&] {
      for (size_t i = 1; i < works.size(); ++i) threads.emplace_back(encode, &works[i]);
      return absl::OkStatus();
    });
    encode(works.data());
    for (std::thread& thread : threads) thread.join();
    RETURN_IF_ERROR(started);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    ThreadWork sum;
    for (const ThreadWork& work : works) {
      RETURN_IF_ERROR(work.status);
      sum.ids += work.ids;
      sum.cpu_seconds += work.cpu_seconds;
    }
    bench.ids = sum.ids;
    if (pass == 0 || elapsed.count() < bench.seconds) bench.seconds = elapsed.count();
    if (pass == 0 || sum.cpu_seconds < bench.cpu_seconds) bench.cpu_seconds = sum.cpu_seconds;
  }
  return bench;
}

std::string TokenizerBench::ToString() const {
  const double megabytes = static_cast<double>(bytes) / 1e6;
  return absl::StrFormat(
      "%d documents, %.1f MB, %d ids, %d threads: %.2f MB/s, %.2f MB a CPU second", documents,
      megabytes, ids, num_threads, megabytes / seconds, megabytes / cpu_seconds);
}

}  // namespace wyvern
