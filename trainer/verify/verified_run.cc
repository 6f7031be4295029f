#include "trainer/verify/verified_run.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/store/token_store.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"
#include "trainer/config/stages.h"
#include "trainer/run/run_data.h"

namespace wyvern {
namespace {

int64_t MicroBatch(const RunConfig& recipe) {
  return std::max<int64_t>(recipe.train.micro_batch, 1);  // one where it is chosen by memory
}

}  // namespace

absl::Status WriteRandomDocuments(const RunConfig& recipe, const std::string& dir) {
  const std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
  if (recipe.model.vocab_size < tokenizer->vocab_size()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "model.vocab_size: ", recipe.model.vocab_size,
        "; the documents that `wyvern verify` makes are of bytes, whose vocabulary has ",
        tokenizer->vocab_size(), "; set it to that, or check the speed alone (--only speed)"));
  }
  ASSIGN_OR_RETURN(const auto writer, TokenStoreWriter::Create(dir + "/train.h5", *tokenizer));
  const Random random(recipe.run.seed, "verified documents");
  const int64_t total =
      std::max<int64_t>(2 * kVerifiedSteps * MicroBatch(recipe), 4) * recipe.data.seq_len;
  uint64_t draw = 0;
  for (int64_t written = 0; written <= total;) {
    // Shorter and longer than a sample.
    const auto length = static_cast<int64_t>(
        1 + random.Below(draw++, static_cast<uint64_t>(2 * recipe.data.seq_len)));
    std::vector<int32_t> document(static_cast<size_t>(length));
    for (int32_t& token : document) token = static_cast<int32_t>(random.Below(draw++, 256));
    RETURN_IF_ERROR(writer->Append(document));
    RETURN_IF_ERROR(writer->EndDocument(0));
    written += length;
  }
  return writer->Finish({"random"});
}

RunConfig VerifiedRun(const RunConfig& recipe, const std::string& data, const std::string& dir) {
  const int64_t micro_batch = MicroBatch(recipe), sample = recipe.data.seq_len;
  RunConfig run = recipe;
  run.run.dir = dir;
  run.run.branch_of.clear();
  run.tokenizer = {};
  DataSource source;
  source.dir = data;
  run.data.sources = {source};
  run.train.steps = kVerifiedSteps;
  run.train.tokens = 0;
  run.train.micro_batch = micro_batch;
  run.train.batch_tokens = std::min(recipe.train.batch_tokens, 2 * micro_batch * sample);
  run.train.init_from.clear();
  run.parallel.mesh = {};
  run.schedule = {.type = ScheduleType::kConstant, .peak = recipe.schedule.peak};
  run.stages.clear();
  run.validation = {.every = 0};
  run.evaluation = {};
  run.checkpoint = {.every = kVerifiedEvery, .keep = -1};
  run.logging = {};
  run.generate = {};
  return run;
}

absl::StatusOr<Batch> VerifiedBatch(const RunConfig& run, int64_t max_tokens) {
  RunConfig config = run;
  config.data.seq_len = std::min(config.data.seq_len, max_tokens);
  config.train.micro_batch = 1;
  config.train.batch_tokens = config.data.seq_len;
  ASSIGN_OR_RETURN(const RunData data, PrepareRunData(config, StagesOf(config)));
  return data.stages.front().sampler->Sample(/*samples_seen=*/0, /*num_samples=*/1);
}

}  // namespace wyvern
