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

// On the CPU, in the types in which they were computed.
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
    q.gradients.emplace_back(p->name, gradient.defined() ? gradient.To(Device::kCpu) : Tensor());
  }
  return q;
}

double ErrorOf(const Tensor& x, const Tensor& reference) {
  if (!reference.defined() || !x.defined())
    return x.defined() == reference.defined() ? 0 : HUGE_VAL;
  return RelativeRms(OnHost(x), OnHost(reference));
}

// The errors of logits, loss and gradients, in this order.
std::vector<double> ErrorsOf(const Quantities& x, const Quantities& reference) {
  std::vector<double> errors = {ErrorOf(x.logits, reference.logits),
                                Relative(x.loss, reference.loss)};
  for (size_t i = 0; i < x.gradients.size(); ++i) {
    errors.push_back(ErrorOf(x.gradients[i].second, reference.gradients[i].second));
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

}  // namespace

absl::StatusOr<NumbersCheck> CheckNumbers(const std::string& checkpoint, Device device,
                                          DType compute, const Batch& batch) {
  constexpr int kDraws = 8;
  constexpr double kFactor = 2;
  const bool bf16 = compute == DType::kBf16;
  Say(absl::StrCat("comparing logits and gradients with the CPU's, over ", batch.num_tokens(),
                   " tokens"));
  Quantities measured;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                     LoadModel(checkpoint, device, compute, /*trainable=*/true));
    measured = Measure(model.get(), batch);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                   LoadModel(checkpoint, Device::kCpu, bf16 ? DType::kFloat32 : DType::kFloat64,
                             /*trainable=*/true));
  const Quantities reference = Measure(model.get(), batch);
  const std::vector<double> errors = ErrorsOf(measured, reference);
  std::vector<double> limits(errors.size(), bf16 ? 0 : 1e-4);
  if (bf16) {
    for (int draw = 0; draw < kDraws; ++draw) {
      const Bf16Storage storage(Bf16Storage::Rounding::kStochastic, static_cast<uint64_t>(draw));
      const std::vector<double> drawn = ErrorsOf(Measure(model.get(), batch), reference);
      for (size_t i = 0; i < limits.size(); ++i)
        limits[i] = std::max(limits[i], kFactor * drawn[i]);
    }
  } else {
    limits[0] = 1e-5;
    limits[1] = 2e-6;
  }
  NumbersCheck check;
  check.num_tokens = batch.num_tokens();
  check.reference = bf16 ? "fp32 on the CPU" : "fp64 on the CPU";
  CompareDirections(measured.logits, reference.logits, &check);
  check.rows = {{"logits", errors[0], limits[0]}, {"loss", errors[1], limits[1]}};
  for (size_t i = 0; i < reference.gradients.size(); ++i) {
    check.rows.push_back(
        {absl::StrCat("grad ", reference.gradients[i].first), errors[i + 2], limits[i + 2]});
  }
  return check;
}

}  // namespace wyvern
