// The stages of a run: parts that follow one another, each with its own rate, lengths and batches.
#ifndef WYVERN_TRAINER_CONFIG_STAGES_H_
#define WYVERN_TRAINER_CONFIG_STAGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/runtime/checked_math.h"
#include "trainer/config/run_config.h"

namespace wyvern {

// A source of a run, which data.sources or a stage names. A folder is one source of the run,
// however many mixtures name it.
struct RunSource {
  DataSource source;
  std::string key;  // where the file describes it: "data.sources[0]", "stages[1].sources[0]"
};

// Equal for two spellings of one folder, relative and absolute ones and links to it too.
std::string SourceFolder(const std::string& dir);

// Those of data.sources, then those that stages add, in order. A source's number is its place here.
std::vector<RunSource> SourcesOf(const RunConfig& config);

// A part of a stage's mixture.
struct StageSource {
  int64_t source = 0;  // its number
  double weight = 0;   // all 0: by size

  bool operator==(const StageSource&) const = default;
};

// A stage with every value that holds in it.
struct Stage {
  std::string name;        // empty: the only one, of a run without `stages`
  int64_t index = 0;       // from 0
  int64_t first_step = 0;  // steps before it
  int64_t num_steps = 0;
  int64_t first_token = 0;  // tokens consumed before it
  // Steps and tokens before its present batches: its beginning, unless a resumed run changed them.
  int64_t batches_first_step = 0, batches_first_token = 0;
  int64_t seq_len = 0, batch_tokens = 0, micro_batch = 0;
  DocumentBoundary document_boundary = DocumentBoundary::kReset;
  std::vector<StageSource> mixture;
  int64_t mixture_first_token = 0;  // tokens consumed before the first stage in a row with it
  double balance_rate = 0;
  ScheduleSection schedule;

  // Both stay at the largest number where a configuration that is not valid asks for more.
  int64_t end_step() const { return SaturatedSum(first_step, num_steps); }
  int64_t end_token() const {
    return SaturatedSum(batches_first_token,
                        SaturatedProduct(end_step() - batches_first_step, batch_tokens));
  }
  int64_t WarmupSteps() const;
  int64_t DecaySteps() const;
  int64_t SamplesPerStep() const { return batch_tokens / seq_len; }
  // Whether it reads another mixture than the stage before it.
  bool BeginsMixture() const { return first_token == mixture_first_token; }
  // The sample of its mixture and length (data/sampling/sampler.h) at which its batches begin: as
  // many whole ones as hold the tokens seen of the mixture before. Samples of each length have an
  // order of their own. The stage continues there, so that epochs continue, and what a run reads
  // depends on its stages up to there alone.
  int64_t FirstSample() const {
    return (batches_first_token - mixture_first_token + seq_len - 1) / seq_len;
  }
  // The sample at which step `step` of the run, one of this stage, begins.
  int64_t SampleAt(int64_t step) const {
    return FirstSample() + (step - batches_first_step) * SamplesPerStep();
  }
};

// In order; one at least. Without config.stages it is the whole run.
std::vector<Stage> StagesOf(const RunConfig& config);

// The batches of the stage of step `step` count from there, where `token` tokens are consumed, and
// the stages behind it from where it then ends.
void ChangeBatches(int64_t step, int64_t token, std::vector<Stage>* stages);

// The stage of step `step`, counted from 0; the last one for those beyond the end.
const Stage& StageOfStep(const std::vector<Stage>& stages, int64_t step);

// Tokens of the steps before step `step`.
int64_t TokensBefore(const std::vector<Stage>& stages, int64_t step);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_STAGES_H_
