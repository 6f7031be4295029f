// Everything a training run depends on. Plain structs with defaults; trainer/config/ reads them
// from YAML and writes them back. configs/README.md explains the keys to users.
#ifndef WYVERN_TRAINER_CONFIG_RUN_CONFIG_H_
#define WYVERN_TRAINER_CONFIG_RUN_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "data/sampling/document_boundary.h"
#include "data/sampling/sample_packing.h"
#include "data/text/text_source.h"
#include "data/token_files/import_tokens.h"
#include "data/tokenizer/byte_level_training.h"
#include "data/tokenizer/tokenizer_bundle.h"
#include "data/tokenizer/tokenizer_type.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/dtype.h"
#include "layers/model_config.h"
#include "trainer/inference/sampling.h"
#include "trainer/parallel/mesh_shape.h"

namespace wyvern {

struct RunSection {
  std::string name;
  std::string dir;  // the run folder; empty: runs/<name>
  // A checkpoint or run folder that the run continues in its own folder; empty: none.
  std::string branch_of;
  uint64_t seed = 1;               // of initialisation and of the order of the data
  std::optional<Device> device;    // kCpu or kCuda; unset: the GPU if there is one
  std::optional<DType> precision;  // kFloat32 or kBf16; unset: bf16 on CUDA, fp32 on the CPU

  // Sets what is unset, by what this machine has.
  void ResolveAuto();

  bool operator==(const RunSection&) const = default;
};

struct TokenizerSection {
  TokenizerType type = TokenizerType::kStore;
  std::string path;            // of the model; a trained one is written there, unless it is there
  int64_t vocab_size = 0;      // of a trained one
  bool byte_level = false;     // kBpe: a tokenizer.json of bytes instead of a SentencePiece model
  TokenizerSettings settings;  // of a file or of one of bytes
  std::string pad;             // of one of bytes
  std::vector<std::string> special_tokens;  // likewise

  // The tokenizer as LoadTokenizer takes it; empty for that of the stores.
  std::string Source() const { return type == TokenizerType::kByte ? "byte" : path; }
  // The settings for LoadTokenizer. A tokenizer.json says itself how it divides text.
  TokenizerSettings LoadSettings() const;
  // The options with which one of bytes is trained.
  ByteLevelOptions ByteLevel() const;
  bool operator==(const TokenizerSection&) const = default;
};

// Files of token ids that another program made.
struct TokenFilesSource {
  std::vector<std::string> paths;
  TokenFileFormat format = TokenFileFormat::kAuto;
  std::optional<TokenDtype> dtype;  // unset: as the files say
  DocumentEnd document_end = DocumentEnd::kFile;
  int64_t vocab_size = 0, eos = 0;  // with tokenizer.type: store, of the ids; else both 0

  bool operator==(const TokenFilesSource&) const = default;
};

// A pair of token stores, dir/train.h5 and dir/val.h5 (which may be absent). With paths of text or
// of token files, they are made from these unless they are there.
struct DataSource {
  std::string dir;
  TextSourceOptions text;        // without paths: no text
  int64_t shard_bytes = 0;       // of text: more than 0: shards of about so many bytes of its files
  int64_t workers = 1;           // processes that make the shards
  TokenFilesSource tokens = {};  // without paths: no token files
  double val_fraction = 0.01;    // of the documents
  int64_t val_documents = 0;     // instead of val_fraction when not 0
  double weight = 0;             // share of the training tokens; all 0: by size
  SamplePacking packing = SamplePacking::kSplit;

  // Without, the stores are there already.
  bool HasInput() const { return !text.paths.empty() || !tokens.paths.empty(); }
  bool operator==(const DataSource&) const = default;
};

struct DataSection {
  std::vector<DataSource> sources;
  int64_t seq_len = 2048;
  DocumentBoundary document_boundary = DocumentBoundary::kReset;
  bool operator==(const DataSection&) const = default;
};

enum class NonFinitePolicy { kSkip, kStop };

// Whether the weights that a run begins with may differ from its model's tensors.
enum class MismatchRule { kError, kAllow };

inline constexpr int64_t kAutoMicroBatch = -1;  // as large as fits

struct TrainSection {
  int64_t steps = 0;         // exactly one of steps and tokens
  int64_t tokens = 0;        // rounded up to whole steps
  int64_t batch_tokens = 0;  // of one optimizer step; a multiple of seq_len
  int64_t micro_batch = 1;   // sequences of one forward and backward, or kAutoMicroBatch
  double grad_clip = 1.0;    // largest global norm of the gradient; 0: no clipping
  RecomputePolicy recompute = RecomputePolicy::kFused;
  int64_t recompute_blocks = 0;  // blocks recomputed in backward instead of kept
  NonFinitePolicy nonfinite = NonFinitePolicy::kSkip;
  double balance_rate = 1e-3;  // of the routers' correction biases, by each update
  double balance_loss = 0;     // weight of the routers' sequence-wise balance loss
  // A checkpoint, run folder or Hugging Face folder whose weights the run begins with; empty: none.
  std::string init_from;
  MismatchRule init_missing = MismatchRule::kError;  // allowed: drawn as without init_from
  MismatchRule init_extra = MismatchRule::kError;    // allowed: left out
  MismatchRule init_vocab = MismatchRule::kError;    // allowed: the rows that both have

  bool operator==(const TrainSection&) const = default;
};

enum class OptimizerType {
  kAdamW,  // arXiv 1711.05101
  kMuon,   // of matrices, arXiv 2502.16982, with the same rate and decay; AdamW of all else
};

struct OptimizerSection {
  OptimizerType type = OptimizerType::kAdamW;
  double beta1 = 0.9, beta2 = 0.95;  // AdamW
  double epsilon = 1e-8;             // AdamW
  double momentum = 0.95;            // Muon
  double weight_decay = 0.01;        // never on biases, A_log, dt_bias
  bool decay_convolutions = true;
  bool decay_embeddings = true;
  bool decay_norms = false;
  double qk_clip = 0;  // largest logit of attention heads, arXiv 2507.20534; 0: any

  bool operator==(const OptimizerSection&) const = default;
};

enum class ScheduleType { kConstant, kLinear, kCosine, kWsd };
enum class DecayShape { kLinear, kCosine, kOneMinusSqrt };

struct ScheduleSection {
  ScheduleType type = ScheduleType::kCosine;
  double peak = 3e-4;
  double initial = 0;                            // where the warm-up starts
  double final = 0;                              // linear, cosine, wsd: where the decay ends
  int64_t warmup_steps = 0;                      // at most one of these two
  int64_t warmup_tokens = 0;                     // rounded up to whole steps
  int64_t decay_steps = 0;                       // wsd: the decay at the end, one of these two
  int64_t decay_tokens = 0;                      // wsd: rounded up to whole steps
  DecayShape decay_shape = DecayShape::kLinear;  // wsd

  bool operator==(const ScheduleSection&) const = default;
};

// A part of a run. Where there are any, they replace train.steps, train.tokens and the schedule.
struct StageSection {
  std::string name;
  int64_t steps = 0;                                  // exactly one of steps and tokens
  int64_t tokens = 0;                                 // rounded up to whole steps
  int64_t seq_len = 0;                                // 0: data.seq_len
  int64_t batch_tokens = 0;                           // 0: train.batch_tokens
  int64_t micro_batch = 0;                            // 0: train.micro_batch
  std::vector<DataSource> sources;                    // empty: data.sources
  std::optional<DocumentBoundary> document_boundary;  // unset: data.document_boundary
  std::optional<double> balance_rate;                 // unset: train.balance_rate
  ScheduleSection schedule;                           // of the stage's own updates, from 0

  bool operator==(const StageSection&) const = default;
};

// Held-out text with a loss of its own.
struct ValidationSet {
  std::string name;
  std::string dir;         // with text: dir/train.h5 holds all of it; else dir/val.h5 is the set
  TextSourceOptions text;  // without paths: the store is there already
  int64_t batches = 0;     // 0: validation.batches
  SamplePacking packing = SamplePacking::kSplit;

  std::string StorePath() const { return dir + (text.paths.empty() ? "/val.h5" : "/train.h5"); }
  bool operator==(const ValidationSet&) const = default;
};

struct ValidationSection {
  int64_t every = 100;   // steps; also before the first and after the last; 0: never
  int64_t batches = 10;  // batches of 8 samples of each store, spread evenly over it
  std::vector<ValidationSet> sets;

  bool operator==(const ValidationSection&) const = default;
};

// Tasks that the model is scored on while it trains.
struct EvaluationSection {
  int64_t every = 0;               // steps; also after the last; 0: never
  std::vector<std::string> tasks;  // files (trainer/evaluation/task.h)
  int64_t limit = 0;               // documents of each, the first ones; 0: all
  int64_t max_length = 0;          // tokens that the model reads of a request; 0: all

  bool operator==(const EvaluationSection&) const = default;
};

struct CheckpointSection {
  int64_t every = 1000;  // steps; also after the last; 0: only then
  int64_t keep = 2;      // newest checkpoints kept; -1: all
  // Steps between checkpoints that are kept beyond these; a multiple of `every`; 0: none.
  int64_t keep_every = 0;

  bool operator==(const CheckpointSection&) const = default;
};

struct LoggingSection {
  int64_t every = 10;      // steps between console lines when the console is not a terminal
  bool by_source = false;  // loss and epochs of each source in the metrics

  bool operator==(const LoggingSection&) const = default;
};

// The sample printed after training.
struct GenerateSection {
  std::string prompt;  // empty: no sample
  int64_t tokens = 64;
  SamplingOptions sampling = {.temperature = 0.8};

  bool operator==(const GenerateSection&) const = default;
};

// How the ranks of a run divide the work; of no effect on one rank.
struct ParallelSection {
  MeshShape mesh;
  int64_t zero = 3;      // what shards divide: 1 optimizer state, 2 also gradients, 3 also values
  double timeout = 600;  // seconds to wait for another rank before this one ends
  double start_timeout = 0;  // seconds to wait for all ranks to come; 0: timeout

  bool operator==(const ParallelSection&) const = default;
};

struct RunConfig {
  RunSection run;
  ModelConfig model;
  TokenizerSection tokenizer;
  DataSection data;
  TrainSection train;
  ParallelSection parallel;
  OptimizerSection optimizer;
  ScheduleSection schedule;
  std::vector<StageSection> stages;
  ValidationSection validation;
  EvaluationSection evaluation;
  CheckpointSection checkpoint;
  LoggingSection logging;
  GenerateSection generate;

  bool operator==(const RunConfig&) const = default;

  // Every fault, cross-field ones included, each naming its key; empty when valid.
  std::vector<std::string> Validate() const;

  std::string RunDir() const { return run.dir.empty() ? "runs/" + run.name : run.dir; }
};

// Whether QK-clip has anything to scale in a model of this configuration.
bool HasQkClip(const ModelConfig& config);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_RUN_CONFIG_H_
