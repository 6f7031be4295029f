// A sweep's file over a small base: reading it and resolving its runs.
#include "absl/strings/str_replace.h"
#include "tests/fuzz/scratch.h"
#include "trainer/sweep/plan.h"

namespace {

constexpr char kBase[] = R"(run: {name: base, device: cpu}
model:
  vocab_size: 258
  hidden_size: 16
  num_layers: 2
  intermediate_size: 32
  mixers: {delta: {type: gated_delta_net, num_heads: 1, key_dim: 8, value_dim: 8}}
  pattern: [delta]
data: {sources: [{dir: store}], seq_len: 32}
train: {steps: 6, batch_tokens: 64, micro_batch: 2}
schedule: {type: constant, peak: 1e-3}
)";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  static const std::string base = scratch.Write("base.yaml", kBase);
  // Seeds name it "base.yaml".
  const std::string text = absl::StrReplaceAll(wyvern::View(data, size), {{"base.yaml", base}});
  const std::string path = scratch.Write("sweep.yaml", text);
  wyvern::ReadFitSource(path).status().IgnoreError();
  wyvern::LoadSweep(path).status().IgnoreError();
  return 0;
}
