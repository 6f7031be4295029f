#include "trainer/checkpoint/average.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/model.h"
#include "trainer/config/model_json.h"

namespace wyvern {
namespace {

std::vector<CheckpointTensor> ModelTensors(const CheckpointInfo& checkpoint) {
  std::vector<CheckpointTensor> tensors;
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    if (absl::StartsWith(tensor.name, "model/")) tensors.push_back(tensor);
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

std::string Describe(const CheckpointTensor& tensor) {
  return absl::StrCat("'", tensor.name, "' ", ToString(tensor.shape), " ", Name(tensor.dtype));
}

// Names the first thing of a checkpoint that differs from the first checkpoint; empty: nothing
// does.
absl::StatusOr<std::string> Difference(const CheckpointInfo& first, const CheckpointInfo& other) {
  ASSIGN_OR_RETURN(const ModelConfig a, CheckpointModelConfig(first));
  ASSIGN_OR_RETURN(const ModelConfig b, CheckpointModelConfig(other));
  std::string difference = FirstDifference(ModelConfigToJson(a), ModelConfigToJson(b), "model");
  if (!difference.empty()) return difference;
  const std::string hash = CheckpointTokenizerHash(first), found = CheckpointTokenizerHash(other);
  if (hash != found) {
    const auto text = [](const std::string& h) { return h.empty() ? "none" : h; };
    return absl::StrCat("tokenizer: expected ", text(hash), ", found ", text(found));
  }
  const std::vector<CheckpointTensor> expected = ModelTensors(first), all = ModelTensors(other);
  for (size_t i = 0; i < std::max(expected.size(), all.size()); ++i) {
    const std::string one = i < expected.size() ? Describe(expected[i]) : "none";
    const std::string two = i < all.size() ? Describe(all[i]) : "none";
    if (one != two) return absl::StrCat("tensor: expected ", one, ", found ", two);
  }
  return std::string();
}

// Elements [begin, end) of the mean.
absl::StatusOr<Tensor> MeanOfPart(const CheckpointTensor& tensor, int64_t begin, int64_t end,
                                  absl::Span<const CheckpointInfo> checkpoints,
                                  absl::Span<const double> weights) {
  std::vector<double> sum(end - begin);
  for (size_t i = 0; i < checkpoints.size(); ++i) {
    const Tensor part = Tensor::Empty({end - begin}, tensor.dtype, Device::kCpu);
    RETURN_IF_ERROR(ReadCheckpointParts(checkpoints[i].path,
                                        {{.tensor = tensor, .begin = begin, .values = part}}));
    const Tensor wide = part.To(DType::kFloat64);
    const double* x = wide.data<double>();
    for (int64_t j = 0; j < end - begin; ++j) sum[j] += weights[i] * x[j];
  }
  // Divided once, so that the mean of equal values is this value.
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& s : sum) s /= total;
  return Tensor::FromVector(sum, {end - begin}).To(tensor.dtype);
}

}  // namespace

std::vector<double> AverageWeights(int64_t count, double decay) {
  std::vector<double> weights(count);
  for (int64_t i = 0; i < count; ++i) {
    weights[i] = std::pow(decay, static_cast<double>(count - 1 - i));
  }
  return weights;
}

absl::StatusOr<std::vector<CheckpointInfo>> AverageCheckpoints(const std::string& out,
                                                               absl::Span<const std::string> names,
                                                               absl::Span<const double> weights,
                                                               int64_t elements_at_once) {
  CHECK(names.size() == weights.size(), names.size(), " checkpoints, ", weights.size(), " weights");
  if (names.size() < 2) {
    return absl::InvalidArgumentError("an average needs two checkpoints at least");
  }
  std::vector<CheckpointInfo> checkpoints;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(CheckpointInfo checkpoint, OpenCheckpoint(name));
    checkpoints.push_back(std::move(checkpoint));
  }
  const CheckpointInfo& first = checkpoints.front();
  for (const CheckpointInfo& checkpoint : checkpoints) {
    ASSIGN_OR_RETURN(const std::string difference, Difference(first, checkpoint));
    if (difference.empty()) continue;
    return absl::FailedPreconditionError(absl::StrCat("checkpoint ", checkpoint.path,
                                                      " is of another model than ", first.path,
                                                      ": ", difference));
  }
  ASSIGN_OR_RETURN(const ModelConfig model, CheckpointModelConfig(first));
  std::unique_ptr<Tokenizer> tokenizer;
  if (!CheckpointTokenizerHash(first).empty()) {
    ASSIGN_OR_RETURN(tokenizer, LoadCheckpointTokenizer(first.path));
  }
  std::vector<StreamedTensor> means;
  for (const CheckpointTensor& tensor : ModelTensors(first)) {
    const int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    const int64_t row_size = NumElements(tensor.shape) / std::max<int64_t>(1, rows);
    means.push_back(
        {.tensor = tensor,
         .rows_at_once = std::max<int64_t>(1, elements_at_once / std::max<int64_t>(1, row_size)),
         .rows = [&checkpoints, weights, tensor, row_size](int64_t begin, int64_t end) {
           return MeanOfPart(tensor, begin * row_size, end * row_size, checkpoints, weights);
         }});
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  nlohmann::json meta = {{"average", nlohmann::json::array()}};
  for (size_t i = 0; i < checkpoints.size(); ++i) {
    meta["average"].push_back({{"path", checkpoints[i].path},
                               {"step", checkpoints[i].step},
                               {"share", weights[i] / total}});
  }
  const nlohmann::json& last = checkpoints.back().meta;
  for (const char* const key : {"config", "chat", "add_bos"}) {
    if (last.contains(key)) meta[key] = last[key];
  }
  RETURN_IF_ERROR(SaveStreamedModel(out, model, std::move(means), tokenizer.get(), meta));
  return checkpoints;
}

}  // namespace wyvern
