#include "trainer/hf/parity.h"

#include <algorithm>
#include <map>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "autograd/bf16_storage.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"
#include "trainer/hf/load_folder.h"
#include "trainer/hf/relative_error.h"
#include "trainer/hf/tensor_names.h"
#include "trainer/optimizer/optimizer.h"

namespace wyvern {
namespace {

constexpr int kSteps = 6;

struct Reference {
  SafetensorsReader file;
  int64_t num_sequences = 0, length = 0;  // B, T
  Tensor ids, targets;                    // [B T] int32 on the device
  Packing packing;

  bool HasGradient(const std::string& name) const {
    return file.tensors().count(absl::StrCat("grad.", name)) > 0;
  }
  std::optional<int64_t> GradientRows(const std::string& name) const {
    const auto entry = file.tensors().find(absl::StrCat("grad.", name));
    if (entry == file.tensors().end() || entry->second.shape.empty()) return std::nullopt;
    return entry->second.shape[0];
  }
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
// 1, W] too, and kimi_linear's A_log [1, 1, H, 1].
Trajectory Train(Model* model, const HfFamily& family, const Reference& reference) {
  constexpr double kRate = 1e-3, kDecay = 0.1;
  Optimizer optimizer(model, {.beta1 = 0.9,
                              .beta2 = 0.95,
                              .epsilon = 1e-8,
                              .weight_decay = kDecay,
                              .decay_convolutions = true,
                              .decay_embeddings = true});
  Trajectory trajectory;
  for (int step = 1; step <= kSteps; ++step) {
    trajectory.loss.push_back(LossAndGradients(model, reference));
    for (const Parameter* p : model->parameters()) {
      if (p->kind != ParameterKind::kALog) continue;
      if (HfTensorsOf(*p, model->config(), family)[0].shape.size() < 2) continue;
      std::vector<double> values = OnHost(p->master);
      for (double& x : values) x *= 1 - kRate * kDecay;
      p->Assign(Tensor::FromVector(values, p->shape));
    }
    const Optimizer::Results results =
        optimizer.Step(kRate, /*max_norm=*/1, /*loss=*/Tensor(), step);
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

// ---- what is compared -------------------------------------------------------------------------

struct Quantities {
  std::vector<double> logits;
  double loss = 0;
  std::map<std::string, std::vector<double>> gradients;  // by the library's name of the tensor
  Trajectory training;
};

// Leaves the model trained by six steps.
Quantities Measure(Model* model, const HfFamily& family, const Reference& reference) {
  Quantities q;
  Tape quiet(/*recording=*/false);
  const Var hidden = model->Hidden(quiet, reference.ids, reference.packing);
  q.logits = OnHost(model->Logits(hidden.value()));
  q.loss = LossAndGradients(model, reference);
  std::map<std::string, Tensor> gradients;
  std::map<std::string, std::vector<HfTensor::Piece>> pieces;  // of gradients that are cut
  for (const Parameter* p : model->parameters()) {
    const Tensor gradient = p->var.grad().To(Device::kCpu).To(DType::kFloat64);
    for (const HfTensor& tensor : HfTensorsOf(*p, model->config(), family)) {
      const Tensor part =
          tensor.slice < 0 ? gradient : gradient.Rows(tensor.slice, tensor.slice + 1);
      const std::string& name =
          reference.HasGradient(tensor.other_name) ? tensor.other_name : tensor.name;
      Tensor& whole = gradients[name];
      if (!whole.defined()) whole = Tensor::Zeros(tensor.shape, DType::kFloat64, Device::kCpu);
      CopyToHf(part, tensor, whole);
      if (!tensor.pieces.empty()) pieces[name] = tensor.pieces;
    }
  }
  for (const auto& [name, gradient] : gradients) {
    if (pieces.count(name) == 0) q.gradients[name] = OnHost(gradient);
    int64_t row = 0;
    for (const HfTensor::Piece& piece : pieces[name]) {
      const int64_t end = row + reference.GradientRows(piece.name).value_or(piece.num_rows);
      q.gradients[piece.name] = OnHost(gradient.Rows(row, std::min(end, gradient.dim(0))));
      row = end;
    }
  }
  q.training = Train(model, family, reference);
  return q;
}

absl::StatusOr<Quantities> ReadQuantities(const Reference& reference, int64_t vocab_size,
                                          const Quantities& like) {
  Quantities q;
  ASSIGN_OR_RETURN(q.logits, reference.Values("logits", reference.ids.numel() * vocab_size));
  ASSIGN_OR_RETURN(const auto loss, reference.Values("loss", 1));
  q.loss = loss[0];
  size_t num_gradients = 0;
  for (const auto& [name, entry] : reference.file.tensors()) {
    num_gradients += absl::StartsWith(name, "grad.") ? 1 : 0;
  }
  if (num_gradients != like.gradients.size()) {
    return absl::InvalidArgumentError(absl::StrCat(reference.file.path(), " holds ", num_gradients,
                                                   " gradients, the model has ",
                                                   like.gradients.size(), " parameters"));
  }
  for (const auto& [name, gradient] : like.gradients) {
    ASSIGN_OR_RETURN(q.gradients[name], reference.Values(absl::StrCat("grad.", name),
                                                         static_cast<int64_t>(gradient.size())));
  }
  ASSIGN_OR_RETURN(q.training.loss, reference.Values("train.loss", kSteps));
  ASSIGN_OR_RETURN(q.training.norm, reference.Values("train.grad_norm", kSteps));
  return q;
}

struct Errors {
  double logits = 0, loss = 0;
  std::map<std::string, double> gradients;
  Trajectory training{.loss = std::vector<double>(kSteps), .norm = std::vector<double>(kSteps)};

  // The larger of both, each.
  void Widen(const Errors& other) {
    logits = std::max(logits, other.logits);
    loss = std::max(loss, other.loss);
    for (const auto& [name, error] : other.gradients) {
      gradients[name] = std::max(gradients[name], error);
    }
    for (int step = 0; step < kSteps; ++step) {
      training.loss[step] = std::max(training.loss[step], other.training.loss[step]);
      training.norm[step] = std::max(training.norm[step], other.training.norm[step]);
    }
  }
};

Trajectory TrainingErrors(const Trajectory& x, const Trajectory& reference) {
  Trajectory errors;
  for (int step = 0; step < kSteps; ++step) {
    errors.loss.push_back(Relative(x.loss[step], reference.loss[step]));
    errors.norm.push_back(Relative(x.norm[step], reference.norm[step]));
  }
  return errors;
}

Errors ErrorsOf(const Quantities& x, const Quantities& reference) {
  Errors errors;
  errors.logits = RelativeRms(x.logits, reference.logits);
  errors.loss = Relative(x.loss, reference.loss);
  for (const auto& [name, gradient] : x.gradients) {
    errors.gradients[name] = RelativeRms(gradient, reference.gradients.at(name));
  }
  errors.training = TrainingErrors(x.training, reference.training);
  return errors;
}

// ---- what may differ --------------------------------------------------------------------------

// Each step's value becomes `factor` times the largest up to it.
void ScaleRunningMax(double factor, std::vector<double>* steps) {
  double largest = 0;
  for (double& x : *steps) {
    largest = std::max(largest, x);
    x = factor * largest;
  }
}

absl::StatusOr<Errors> Fp32Limits(const std::string& dir, const HfFamily& family,
                                  const Reference& reference, const Quantities& measured,
                                  Model* model) {
  constexpr int kDraws = 3;
  constexpr double kPerturbation = 1e-6, kFirstSteps = 1e-4, kLeastDrift = 1e-5;
  Errors limits;
  for (int draw = 0; draw < kDraws; ++draw) {
    RETURN_IF_ERROR(LoadHfWeights(dir, family, model));
    Perturb(model, kPerturbation, draw);
    Errors errors;
    errors.training = TrainingErrors(Train(model, family, reference), measured.training);
    limits.Widen(errors);
  }
  for (std::vector<double>* steps : {&limits.training.loss, &limits.training.norm}) {
    ScaleRunningMax(10, steps);
    for (double& x : *steps) x = std::max(x, kLeastDrift);
    (*steps)[0] = kFirstSteps;
    (*steps)[1] = std::max((*steps)[1], kFirstSteps);
  }
  limits.logits = 1e-5;
  limits.loss = 2e-6;
  for (const auto& [name, gradient] : measured.gradients) limits.gradients[name] = 1e-4;
  return limits;
}

absl::StatusOr<Errors> Bf16Limits(const std::string& dir) {
  constexpr int kDraws = 16;
  constexpr double kFactor = 2;
  ASSIGN_OR_RETURN(const HfModel loaded,
                   LoadHfFolder(dir, Device::kCpu, DType::kFloat32, /*trainable=*/true));
  Model* model = loaded.model.get();
  ASSIGN_OR_RETURN(const Reference reference,
                   OpenReference(dir, Device::kCpu, model->config().vocab_size));
  const Quantities exact = Measure(model, *loaded.family, reference);
  Errors limits;
  for (int draw = 0; draw < kDraws; ++draw) {
    RETURN_IF_ERROR(LoadHfWeights(dir, *loaded.family, model));
    const Bf16Storage storage(Bf16Storage::Rounding::kStochastic, draw);
    limits.Widen(ErrorsOf(Measure(model, *loaded.family, reference), exact));
  }
  limits.logits *= kFactor;
  limits.loss *= kFactor;
  for (auto& [name, limit] : limits.gradients) limit *= kFactor;
  ScaleRunningMax(kFactor, &limits.training.loss);
  ScaleRunningMax(kFactor, &limits.training.norm);
  return limits;
}

}  // namespace

bool ParityReport::passed() const {
  return std::all_of(rows.begin(), rows.end(), [](const ParityRow& row) { return row.passed(); });
}

absl::StatusOr<ParityReport> RunParity(const std::string& dir, Device device, DType compute,
                                       const ParityLimits& given) {
  const bool bf16 = compute == DType::kBf16, emulated = bf16 && device == Device::kCpu;
  ASSIGN_OR_RETURN(const HfModel loaded,
                   LoadHfFolder(dir, device, emulated ? DType::kFloat32 : compute,
                                /*trainable=*/true));
  Model* model = loaded.model.get();
  const int64_t vocab_size = model->config().vocab_size;
  ASSIGN_OR_RETURN(const Reference reference, OpenReference(dir, device, vocab_size));
  Quantities measured;
  {
    std::optional<Bf16Storage> storage;
    if (emulated) storage.emplace(Bf16Storage::Rounding::kNearest);
    measured = Measure(model, *loaded.family, reference);
  }
  ASSIGN_OR_RETURN(const Quantities expected, ReadQuantities(reference, vocab_size, measured));
  const Errors errors = ErrorsOf(measured, expected);
  ASSIGN_OR_RETURN(
      Errors limits,
      bf16 ? Bf16Limits(dir) : Fp32Limits(dir, *loaded.family, reference, measured, model));

  ParityReport report{.model_type = loaded.family->model_type, .warnings = loaded.warnings};
  const auto add = [&](const std::string& quantity, double error, double limit,
                       const std::optional<double>& set) {
    report.rows.push_back({.quantity = quantity, .error = error, .limit = set.value_or(limit)});
  };
  add("logits", errors.logits, limits.logits, given.logits);
  add("loss", errors.loss, limits.loss, given.loss);
  for (const auto& [name, error] : errors.gradients) {
    add(absl::StrCat("grad.", name), error, limits.gradients[name], given.gradients);
  }
  for (int step = 0; step < kSteps; ++step) {
    add(absl::StrCat("step ", step, " loss"), errors.training.loss[step],
        limits.training.loss[step], given.step_loss);
    add(absl::StrCat("step ", step, " gradient norm"), errors.training.norm[step],
        limits.training.norm[step], given.step_norm);
  }
  return report;
}

}  // namespace wyvern
