#include "trainer/verify/check_numbers.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "autograd/bf16_storage.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/model.h"
#include "trainer/hf/relative_error.h"

namespace wyvern {
namespace {

// On the CPU, in the types in which they were computed, and of no model's memory.
struct Quantities {
  Tensor logits;  // [T, V]
  double loss = 0;
  std::vector<std::pair<std::string, Tensor>> gradients;  // by parameter; undefined: zero
};

Quantities Measure(Model* model, const Batch& batch) {
  const Device device = model->device();
  const Tensor ids = Tensor::FromVector(batch.tokens, {batch.num_tokens()}).To(device),
               targets = Tensor::FromVector(batch.targets, {batch.num_tokens()}).To(device);
  const Packing packing = Packing::FromDocuments(batch.cu_seqlens, device);
  Quantities q;
  {
    Tape quiet(/*recording=*/false);
    q.logits = model->Logits(model->Hidden(quiet, ids, packing).value()).To(Device::kCpu);
  }
  model->ZeroGradients();
  Tape tape;
  const Var loss =
      model->Loss(tape, ids, targets, packing, static_cast<double>(batch.num_targets())).loss;
  tape.Backward(loss);
  q.loss = OnHost(loss.value())[0];
  for (const Parameter* p : model->parameters()) {
    const Tensor gradient = p->var.grad();
    // The next draw of the same model overwrites its gradients where they lie.
    q.gradients.emplace_back(p->name, !gradient.defined()      ? Tensor()
                                      : device == Device::kCpu ? gradient.Clone()
                                                               : gradient.To(Device::kCpu));
  }
  return q;
}

double ErrorOf(const Tensor& x, const Tensor& reference) {
  if (!reference.defined() || !x.defined())
    return x.defined() == reference.defined() ? 0 : HUGE_VAL;
  return RelativeRms(x, reference);
}

// The errors of logits, loss and gradients, in this order.
std::vector<double> ErrorsOf(const Quantities& x, const Quantities& reference) {
  std::vector<double> errors(x.gradients.size() + 2);
  errors[0] = ErrorOf(x.logits, reference.logits);
  errors[1] = Relative(x.loss, reference.loss);
  for (size_t i = 0; i < x.gradients.size(); ++i) {
    errors[i + 2] = ErrorOf(x.gradients[i].second, reference.gradients[i].second);
  }
  return errors;
}

double Cosine(absl::Span<const double> a, absl::Span<const double> b) {
  double product = 0, norm_a = 0, norm_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += a[i] * b[i];
    norm_a += a[i] * a[i];
    norm_b += b[i] * b[i];
  }
  return product / std::sqrt(norm_a * norm_b);
}

void CompareDirections(const Tensor& logits, const Tensor& reference, NumbersCheck* check) {
  const std::vector<double> x = OnHost(logits), y = OnHost(reference);
  const auto width = static_cast<size_t>(logits.dim(1));
  check->least_cosine = 1;
  double sum = 0;
  for (size_t begin = 0; begin < x.size(); begin += width) {
    const double cosine = Cosine(absl::MakeConstSpan(x).subspan(begin, width),
                                 absl::MakeConstSpan(y).subspan(begin, width));
    sum += cosine;
    check->least_cosine = std::min(check->least_cosine, cosine);
  }
  check->mean_cosine = sum / static_cast<double>(logits.dim(0));
}

// Twice the largest deviation that random rounding of what bf16 stores brings about, of logits,
// loss and gradients of an fp32 model on the CPU.
std::vector<double> Bf16Limits(Model* model, const Batch& batch, const Quantities& reference) {
  constexpr int kDraws = 8;
  constexpr double kFactor = 2;
  std::vector<double> limits(reference.gradients.size() + 2);
  for (int draw = 0; draw < kDraws; ++draw) {
    const Bf16Storage storage(Bf16Storage::Rounding::kStochastic, static_cast<uint64_t>(draw));
    const std::vector<double> drawn = ErrorsOf(Measure(model, batch), reference);
    for (size_t i = 0; i < limits.size(); ++i) limits[i] = std::max(limits[i], kFactor * drawn[i]);
  }
  return limits;
}

}  // namespace

absl::StatusOr<NumbersCheck> CheckNumbers(const std::string& checkpoint, Device device,
                                          DType compute, const Batch& batch) {
  // A limit of half the quantity would let anything pass, zero too.
  constexpr double kLost = 0.5;
  // The same roundings are 2^16 times smaller in fp32. Sixteen times that, as sums within ops are
  // rounded, too.
  constexpr double kFp32Share = 16.0 / 65536, kFp32Gradients = 1e-4;
  const bool bf16 = compute == DType::kBf16;
  Say(absl::StrCat("comparing logits and gradients with the CPU's, over ", batch.num_tokens(),
                   " tokens"));
  const auto load = [&](Device where, DType dtype) {
    return LoadModel(checkpoint, where, dtype, /*trainable=*/true);
  };
  const auto measure = [&](DType dtype) -> absl::StatusOr<Quantities> {
    const bool emulated = dtype == DType::kBf16 && device == Device::kCpu;
    ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                     load(device, emulated ? DType::kFloat32 : dtype));
    std::optional<Bf16Storage> storage;
    if (emulated) storage.emplace(Bf16Storage::Rounding::kNearest);
    return Measure(model.get(), batch);
  };
  ASSIGN_OR_RETURN(const Quantities measured, measure(compute));
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                   load(Device::kCpu, bf16 ? DType::kFloat32 : DType::kFloat64));
  const Quantities reference = Measure(model.get(), batch);
  std::vector<std::string> names = {"logits", "loss"};
  for (const auto& [name, gradient] : reference.gradients) {
    names.push_back(absl::StrCat("grad ", name));
  }
  std::vector<double> errors = ErrorsOf(measured, reference), limits;
  if (bf16) {
    limits = Bf16Limits(model.get(), batch, reference);
    if (*std::max_element(limits.begin(), limits.end()) >= kLost) {
      ASSIGN_OR_RETURN(const Quantities unrounded, measure(DType::kFloat32));
      const std::vector<double> of_fp32 = ErrorsOf(unrounded, reference);
      for (size_t i = 0; i < limits.size(); ++i) {
        if (limits[i] < kLost) continue;
        names[i] += ", in fp32";
        errors[i] = of_fp32[i];
        limits[i] = std::max(kFp32Gradients, kFp32Share * limits[i]);
      }
    }
  } else {
    limits.assign(errors.size(), kFp32Gradients);
    limits[0] = 1e-5;
    limits[1] = 2e-6;
  }
  NumbersCheck check;
  check.num_tokens = batch.num_tokens();
  check.reference = bf16 ? "fp32 on the CPU" : "fp64 on the CPU";
  CompareDirections(measured.logits, reference.logits, &check);
  for (size_t i = 0; i < names.size(); ++i) check.rows.push_back({names[i], errors[i], limits[i]});
  return check;
}

}  // namespace wyvern
