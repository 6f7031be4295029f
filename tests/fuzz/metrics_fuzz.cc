// A run's metrics.jsonl: the report of it, and resuming from it.
#include "tests/fuzz/scratch.h"
#include "trainer/report/metrics.h"
#include "trainer/report/report.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  const std::string text(wyvern::View(data, size));
  wyvern::RenderReport(text, {"run", {{"key", "value"}}, "yaml", "sample"}).status().IgnoreError();
  scratch.Write("metrics.jsonl", text);
  std::string warning;
  wyvern::MetricsLog::Open(scratch.folder(), /*last_step=*/4, &warning).status().IgnoreError();
  return 0;
}
