#include "trainer/train_step.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/ops/elementwise.h"
#include "kernels/ops/grad_norm.h"
#include "trainer/device_batch.h"

namespace wyvern {
namespace {

double ReadScalar(const Tensor& t) {
  return t.To(Device::kCpu).To(DType::kFloat64).ToVector<double>()[0];
}

}  // namespace

StepResult TrainStep(Model* model, Optimizer* optimizer, absl::Span<const Batch> micro_batches,
                     double lr, double max_norm, int64_t update, DataParallel* parallel) {
  const Device device = model->device();
  int64_t num_targets = 0;
  // All uploads come first, while the stream is idle: a copy queued behind kernels may block.
  std::vector<DeviceBatch> uploaded;
  for (const Batch& batch : micro_batches) {
    num_targets += batch.num_targets;
    uploaded.push_back(Upload(batch, device, parallel == nullptr ? nullptr : &parallel->mesh()));
  }
  if (parallel != nullptr) {
    parallel->mesh().world().host().AllReduce(&num_targets, &num_targets, 1, DType::kInt64);
    num_targets /= parallel->mesh().shape().context;  // whose ranks count the same ones
  }
  const double denominator = static_cast<double>(std::max<int64_t>(num_targets, 1));
  const DType acc = AccDType(model->compute());
  const Tensor loss = Tensor::Zeros({1}, acc, device);
  StepResult result;
  model->ZeroGradients();
  for (size_t i = 0; i < uploaded.size(); ++i) {
    const DeviceBatch& batch = uploaded[i];
    if (parallel != nullptr) {
      parallel->BeginMicroBatch(static_cast<int64_t>(i), static_cast<int64_t>(uploaded.size()));
    }
    Tape tape(/*recording=*/true, model->recompute());
    const Var part = model->Loss(tape, batch.ids, batch.targets, batch.packing, denominator).loss;
    AddInto(device, loss.raw(), acc, part.value().raw(), part.value().dtype(), 1, ComputeStream());
    tape.Backward(part);
    result.flops += tape.cost().forward_flops + tape.cost().backward_flops;
  }
  if (parallel != nullptr) {
    parallel->FinishGradients();
    parallel->SumOverRanks(loss);
  }
  const Optimizer::Results step = optimizer->Step(lr, max_norm, loss, update);
  if (parallel != nullptr) parallel->ValuesChanged();
  result.loss = ReadScalar(loss);
  result.grad_norm = ReadScalar(step.norm);
  result.updated = step.finite.ToVector<int32_t>()[0] != 0;
  return result;
}

std::string DescribeNonFinite(Model* model, const StepResult& result, DataParallel* parallel) {
  if (!std::isfinite(result.loss)) return absl::StrCat("the loss (", result.loss, ")");
  const Device device = model->device();
  const DType acc = AccDType(model->compute());
  const Tensor norm = Tensor::Empty({1}, acc, device), clip = Tensor::Empty({1}, acc, device);
  const Tensor finite = Tensor::Empty({1}, DType::kInt32, device);
  const std::vector<Parameter*> parameters = model->parameters();
  const auto is_finite = [&](const Parameter& p) {
    const Tensor grad = ReducedGradient(p);
    if (!grad.defined()) return true;
    Dispatch(device, model->compute(), [&](auto tag, auto io) {
      using Acc = AccOf<typename decltype(io)::type>;
      GradNorm(tag, GradNormParams<Acc>{.tensors = {{grad.numel(), grad.data<Acc>()}},
                                        .norm = norm.data<Acc>(),
                                        .clip = clip.data<Acc>(),
                                        .finite = finite.data<int32_t>(),
                                        .stream = ComputeStream()});
    });
    return finite.ToVector<int32_t>()[0] != 0;
  };
  const auto count = static_cast<int64_t>(parameters.size());
  int64_t first = 0;
  while (first < count && is_finite(*parameters[static_cast<size_t>(first)])) ++first;
  if (parallel != nullptr) {
    // The first one on any rank.
    int64_t negated = -first;
    parallel->mesh().world().host().AllReduce(&negated, &negated, 1, DType::kInt64, ReduceOp::kMax);
    first = -negated;
  }
  if (first < count) {
    return absl::StrCat("the gradient of ", parameters[static_cast<size_t>(first)]->name);
  }
  return absl::StrCat("the norm of the whole gradient (", result.grad_norm, ")");
}

}  // namespace wyvern
