// Loss and perplexity of a model on held-out batches; in the training loop and in `wyvern eval`.
#ifndef WYVERN_TRAINER_INFERENCE_EVAL_H_
#define WYVERN_TRAINER_INFERENCE_EVAL_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "data/sampling/batch.h"
#include "data/sampling/sampler.h"
#include "data/tokenizer/token_bytes.h"
#include "layers/model.h"
#include "trainer/parallel/data_parallel.h"

namespace wyvern {

// The samples of one batch of `validation.batches` and `wyvern eval --batches`. Fixed, so that the
// samples, and with them the loss, depend on neither the micro batch nor the ranks.
inline constexpr int64_t kEvalBatchSamples = 8;

// How many samples are run at once: a function of their length alone, since matmuls of another
// height round differently.
int64_t EvalSamplesAtOnce(int64_t seq_len);

// `batches` batches of neighbouring samples, spread evenly over the store; all of a smaller one, or
// for 0.
std::vector<int64_t> EvalSamples(const SequentialSampler& sampler, int64_t batches);

struct EvalResult {
  // Positions [begin, end) of their sequences.
  struct Bucket {
    int64_t begin = 0, end = 0;
    int64_t num_targets = 0;
    double loss = 0;
  };
  double loss = 0;        // mean over targets, in nats; NaN without targets
  double perplexity = 0;  // exp(loss)
  int64_t num_tokens = 0;
  int64_t num_targets = 0;
  int64_t num_bytes = 0;  // of the targets' text; 0: not known
  // The summed loss in bits over num_bytes, which does not depend on the tokenizer.
  std::optional<double> BitsPerByte() const;
  std::vector<Bucket> positions;  // [0, 1), [1, 2), [2, 4), [4, 8) ...; empty ones are left out

  nlohmann::json ToJson() const;
};

// Gathers the loss over any number of batches. Sums are in fp64 and in the tokens' order, so the
// result does not depend on anything but the batches.
class Evaluator {
 public:
  // With a mesh, the ranks of a CP group divide the tokens of each batch: all of them add the
  // same ones.
  // Without `bytes`, those of the targets are not counted.
  explicit Evaluator(Model* model, const Mesh* mesh = nullptr, const TokenBytes* bytes = nullptr)
      : model_(model), mesh_(mesh), bytes_(bytes) {}

  void Add(const Batch& batch) { Add(batch, Run(batch)); }
  // In two steps, for several evaluators that gather the same batch.
  struct TokenLosses {
    int64_t begin = 0;               // the first token of this rank's part of the batch
    std::vector<double> loss;        // of its tokens
    std::vector<int32_t> positions;  // in their sequences
  };
  TokenLosses Run(const Batch& batch) const;
  void Add(const Batch& batch, const TokenLosses& part);
  // Adds up what the ranks of the mesh have gathered; the result is then the same on all of them.
  void SumOverRanks();
  EvalResult Result() const;

 private:
  struct Sum {
    double loss = 0;
    int64_t count = 0;
  };
  Model* model_;
  const Mesh* mesh_;
  const TokenBytes* bytes_;
  int64_t num_tokens_ = 0, num_bytes_ = 0;
  std::vector<Sum> buckets_;
};

EvalResult Evaluate(Model* model, absl::Span<const Batch> batches);

// A batch of several evaluations.
struct EvalBatch {
  Batch batch;
  std::vector<size_t> results;  // those that count it
};
// Each batch is run once, and the results are those of an Evaluate of their batches alone. All
// ranks of `parallel`, which may be null, call it with the same batches and divide them.
std::vector<EvalResult> Evaluate(Model* model, absl::Span<const EvalBatch> batches,
                                 size_t num_results, const TokenBytes& bytes,
                                 DataParallel* parallel);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_INFERENCE_EVAL_H_
