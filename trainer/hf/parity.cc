#include "trainer/hf/parity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"
#include "trainer/hf/hf_folder.h"
#include "trainer/hf/tensor_names.h"
#include "trainer/optimizer.h"

namespace wyvern {
namespace {

constexpr int kSteps = 6;
constexpr int kDraws = 3;

std::vector<double> OnHost(const Tensor& t) {
  return t.To(Device::kCpu).To(DType::kFloat64).ToVector<double>();
}

double RelativeRms(const std::vector<double>& x, const std::vector<double>& reference) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (x[i] - reference[i]) * (x[i] - reference[i]);
    norm += reference[i] * reference[i];
  }
  if (norm == 0) return difference == 0 ? 0 : std::numeric_limits<double>::infinity();
  return std::sqrt(difference / norm);
}

double Relative(double x, double reference) {
  return std::abs(x - reference) / std::abs(reference);
}

struct Reference {
  SafetensorsReader file;
  int64_t num_sequences = 0, length = 0;  // B, T
  Tensor ids, targets;                    // [B T] int32 on the device
  Packing packing;

  absl::StatusOr<std::vector<double>> Values(const std::string& name, int64_t count) const {
    ASSIGN_OR_RETURN(const Tensor tensor, ReadFloatTensor(file, name));
    if (tensor.numel() != count) {
      return absl::InvalidArgumentError(absl::StrCat(
          file.path(), ": ", name, " has ", tensor.numel(), " elements; expected ", count));
    }
    return OnHost(tensor);
  }
};

absl::StatusOr<Reference> OpenReference(const std::string& dir, Device device, int64_t vocab_size) {
  ASSIGN_OR_RETURN(SafetensorsReader file,
                   SafetensorsReader::Open(absl::StrCat(dir, "/reference.safetensors")));
  ASSIGN_OR_RETURN(const SafetensorsEntry entry, file.Find("input_ids"));
  if (entry.dtype != "I64" || entry.shape.size() != 2 || entry.shape[0] < 1 || entry.shape[1] < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": input_ids: expected I64 of [sequences, tokens >= 2]"));
  }
  const int64_t B = entry.shape[0], T = entry.shape[1];
  std::vector<int64_t> wide(B * T);
  RETURN_IF_ERROR(file.Read("input_ids", wide.data(), entry.num_bytes()));
  std::vector<int32_t> ids(B * T), targets(B * T, -1), cu_seqlens = {0};
  for (int64_t i = 0; i < B * T; ++i) {
    if (wide[i] < 0 || wide[i] >= vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat(file.path(), ": input_ids holds ", wide[i],
                                                     ", the vocabulary ends at ", vocab_size - 1));
    }
    ids[i] = static_cast<int32_t>(wide[i]);
    if (i % T > 0) targets[i - 1] = ids[i];
  }
  for (int64_t b = 1; b <= B; ++b) cu_seqlens.push_back(static_cast<int32_t>(b * T));
  return Reference{.file = std::move(file),
                   .num_sequences = B,
                   .length = T,
                   .ids = Tensor::FromVector(ids, {B * T}).To(device),
                   .targets = Tensor::FromVector(targets, {B * T}).To(device),
                   .packing = Packing::FromDocuments(cu_seqlens, device)};
}

// Loss and gradients of the reference's batch.
double LossAndGradients(Model* model, const Reference& reference) {
  model->ZeroGradients();
  Tape tape;
  const auto count = static_cast<double>(reference.num_sequences * (reference.length - 1));
  const Var loss =
      model->Loss(tape, reference.ids, reference.targets, reference.packing, count).loss;
  tape.Backward(loss);
  return OnHost(loss.value())[0];
}

// ---- the training trajectory ------------------------------------------------------------------

struct Trajectory {
  std::vector<double> loss, norm;  // before each step; the norm before clipping
};

// By the optimizer of training: a constant rate of 1e-3, gradients clipped to a norm of 1. Decayed
// by 0.1: parameters of two or more dimensions in the library's own module, hence convolutions [D,
// 1, W] too.
Trajectory Train(Model* model, const Reference& reference) {
  Optimizer optimizer(model, {.beta1 = 0.9,
                              .beta2 = 0.95,
                              .epsilon = 1e-8,
                              .weight_decay = 0.1,
                              .decay_convolutions = true,
                              .decay_embeddings = true});
  Trajectory trajectory;
  for (int step = 1; step <= kSteps; ++step) {
    trajectory.loss.push_back(LossAndGradients(model, reference));
    const Optimizer::Results results =
        optimizer.Step(/*lr=*/1e-3, /*max_norm=*/1, /*loss=*/Tensor(), step);
    trajectory.norm.push_back(OnHost(results.norm)[0]);
  }
  return trajectory;
}

void Perturb(Model* model, double size, int draw) {
  for (const Parameter* p : model->parameters()) {
    const Random random(static_cast<uint64_t>(draw), p->name);
    std::vector<double> values = OnHost(p->master);
    for (size_t i = 0; i < values.size(); ++i) values[i] *= 1 + size * random.Normal(i);
    p->Assign(Tensor::FromVector(values, p->master.shape()));
  }
}

// Per step, the largest relative change of loss and norm up to it under perturbed initial weights.
absl::StatusOr<Trajectory> PerturbedDrift(const std::string& dir, HfFamily family,
                                          const Reference& reference, const Trajectory& exact,
                                          double perturbation, Model* model) {
  Trajectory drift{.loss = std::vector<double>(kSteps), .norm = std::vector<double>(kSteps)};
  for (int draw = 0; draw < kDraws; ++draw) {
    RETURN_IF_ERROR(LoadHfWeights(dir, family, model));
    Perturb(model, perturbation, draw);
    const Trajectory run = Train(model, reference);
    double loss = 0, norm = 0;
    for (int step = 0; step < kSteps; ++step) {
      loss = std::max(loss, Relative(run.loss[step], exact.loss[step]));
      norm = std::max(norm, Relative(run.norm[step], exact.norm[step]));
      drift.loss[step] = std::max(drift.loss[step], loss);
      drift.norm[step] = std::max(drift.norm[step], norm);
    }
  }
  return drift;
}

}  // namespace

ParityLimits DefaultParityLimits(DType compute) {
  if (compute != DType::kBf16) return ParityLimits();
  return {.logits = 5e-2, .gradients = 2e-1, .loss = 2e-3, .step_loss = 5e-3, .step_norm = 0.15};
}

bool ParityReport::passed() const {
  return std::all_of(rows.begin(), rows.end(), [](const ParityRow& row) { return row.passed(); });
}

absl::StatusOr<ParityReport> RunParity(const std::string& dir, Device device, DType compute,
                                       const ParityLimits& limits) {
  ASSIGN_OR_RETURN(const HfModel loaded, LoadHfFolder(dir, device, compute, /*trainable=*/true));
  Model* model = loaded.model.get();
  const int64_t vocab_size = model->config().vocab_size;
  ASSIGN_OR_RETURN(const Reference reference, OpenReference(dir, device, vocab_size));
  const int64_t num_tokens = reference.ids.numel();
  ParityReport report{.model_type = ModelType(loaded.family), .warnings = loaded.warnings};
  const auto add = [&](const std::string& quantity, double error, double limit) {
    report.rows.push_back({.quantity = quantity, .error = error, .limit = limit});
  };

  Tape quiet(/*recording=*/false);
  const Var hidden = model->Hidden(quiet, reference.ids, reference.packing);
  ASSIGN_OR_RETURN(const auto logits, reference.Values("logits", num_tokens * vocab_size));
  add("logits", RelativeRms(OnHost(model->Logits(hidden.value())), logits), limits.logits);

  const double loss = LossAndGradients(model, reference);
  ASSIGN_OR_RETURN(const auto expected_loss, reference.Values("loss", 1));
  add("loss", Relative(loss, expected_loss[0]), limits.loss);
  size_t num_gradients = 0;
  for (const auto& [name, entry] : reference.file.tensors()) {
    num_gradients += absl::StartsWith(name, "grad.") ? 1 : 0;
  }
  const std::vector<Parameter*> parameters = model->parameters();
  if (num_gradients != parameters.size()) {
    return absl::InvalidArgumentError(absl::StrCat(reference.file.path(), " holds ", num_gradients,
                                                   " gradients, the model has ", parameters.size(),
                                                   " parameters"));
  }
  for (const Parameter* p : parameters) {
    const std::string name = absl::StrCat("grad.", HfTensorOf(*p, loaded.family).name);
    ASSIGN_OR_RETURN(const auto gradient, reference.Values(name, p->grad.numel()));
    add(name, RelativeRms(OnHost(p->grad), gradient), limits.gradients);
  }

  ASSIGN_OR_RETURN(const auto losses, reference.Values("train.loss", kSteps));
  ASSIGN_OR_RETURN(const auto norms, reference.Values("train.grad_norm", kSteps));
  const Trajectory trained = Train(model, reference);
  Trajectory drift{.loss = std::vector<double>(kSteps), .norm = std::vector<double>(kSteps)};
  if (!limits.step_loss.has_value() || !limits.step_norm.has_value()) {
    ASSIGN_OR_RETURN(
        drift, PerturbedDrift(dir, loaded.family, reference, trained, limits.perturbation, model));
  }
  for (int step = 0; step < kSteps; ++step) {
    const auto limit = [&](const std::optional<double>& fixed, double spread) {
      if (fixed.has_value()) return *fixed;
      return step < 2 ? limits.first_steps : std::max(limits.least_drift, 10 * spread);
    };
    add(absl::StrCat("step ", step, " loss"), Relative(trained.loss[step], losses[step]),
        limit(limits.step_loss, drift.loss[step]));
    add(absl::StrCat("step ", step, " gradient norm"), Relative(trained.norm[step], norms[step]),
        limit(limits.step_norm, drift.norm[step]));
  }
  return report;
}

}  // namespace wyvern
