#include "trainer/loop/train_step.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/optim/grad_norm.h"
#include "kernels/pointwise/elementwise.h"
#include "kernels/runtime/dispatch.h"
#include "trainer/parallel/device_batch.h"
#include "trainer/parallel/phase.h"

namespace wyvern {
namespace {

double ReadScalar(const Tensor& t) {
  return t.To(Device::kCpu).To(DType::kFloat64).ToVector<double>()[0];
}

struct Gradients {
  Tensor loss, own_loss;  // [1]; with `parallel`, `loss` is that of all ranks
  double flops = 0;
  // With token losses, of each micro batch: the first token of this rank's part, and its losses.
  std::vector<int64_t> begins;
  std::vector<Tensor> token_losses;
};

// Counted targets of the batches of all ranks.
int64_t CountTargets(absl::Span<const Batch> micro_batches, DataParallel* parallel) {
  int64_t num_targets = 0;
  for (const Batch& batch : micro_batches) num_targets += batch.num_targets();
  if (parallel == nullptr) return num_targets;
  parallel->mesh().world().host().AllReduce(&num_targets, &num_targets, 1, DType::kInt64);
  return num_targets / parallel->mesh().shape().context;  // whose ranks count the same ones
}

// The gradients of a step with so many counted targets, summed over all ranks.
Gradients ComputeGradients(Model* model, absl::Span<const Batch> micro_batches, int64_t num_targets,
                           DataParallel* parallel, bool with_token_losses) {
  const Device device = model->device();
  // All uploads come first, while the stream is idle: a copy queued behind kernels may block.
  std::vector<DeviceBatch> uploaded;
  for (const Batch& batch : micro_batches) {
    uploaded.push_back(Upload(batch, device, parallel == nullptr ? nullptr : &parallel->mesh()));
  }
  const double denominator = static_cast<double>(std::max<int64_t>(num_targets, 1));
  BeginPhase("forward and backward");
  const DType acc = AccDType(model->compute());
  Gradients gradients{.loss = Tensor::Zeros({1}, acc, device)};
  model->ZeroGradients();
  for (size_t i = 0; i < uploaded.size(); ++i) {
    const DeviceBatch& batch = uploaded[i];
    if (parallel != nullptr) {
      parallel->BeginMicroBatch(static_cast<int64_t>(i), static_cast<int64_t>(uploaded.size()));
    }
    Tape tape(/*recording=*/true, model->recompute());
    const auto losses = model->Loss(tape, batch.ids, batch.targets, batch.packing, denominator);
    const Var& part = losses.loss;
    if (with_token_losses) {
      gradients.begins.push_back(batch.begin);
      gradients.token_losses.push_back(losses.token_loss.value());
    }
    AddInto(device, gradients.loss.raw(), acc, part.value().raw(), part.value().dtype(), 1,
            ComputeStream());
    tape.Backward(part);
    gradients.flops += tape.cost().forward_flops + tape.cost().backward_flops;
  }
  if (parallel != nullptr) {
    parallel->FinishGradients();
    gradients.own_loss = gradients.loss.Clone();
    parallel->SumOverRanks(gradients.loss);
    if (model->balance_loss().defined()) parallel->SumOverRanks(model->balance_loss());
    if (model->expert_loads().defined()) parallel->SumOverRanks(model->expert_loads());
  }
  return gradients;
}

bool IsFinite(const Model& model, const Tensor& gradient) {
  if (!gradient.defined()) return true;
  const Device device = model.device();
  const DType acc = AccDType(model.compute());
  const Tensor norm = Tensor::Empty({1}, acc, device), clip = Tensor::Empty({1}, acc, device);
  const Tensor finite = Tensor::Empty({1}, DType::kInt32, device);
  Dispatch(device, model.compute(), [&](auto tag, auto io) {
    using Acc = AccOf<typename decltype(io)::type>;
    GradNorm(tag, GradNormParams<Acc>{.tensors = {{gradient.numel(), gradient.data<Acc>()}},
                                      .norm = norm.data<Acc>(),
                                      .clip = clip.data<Acc>(),
                                      .finite = finite.data<int32_t>(),
                                      .stream = ComputeStream()});
  });
  return finite.ToVector<int32_t>()[0] != 0;
}

// "rank 1", "ranks 1, 3", "all ranks" of those that say so; empty if none does.
std::string RanksThat(bool says, Communicator& host) {
  const int32_t own = says ? 1 : 0;
  std::vector<int32_t> all(static_cast<size_t>(host.size()));
  host.AllGather(&own, all.data(), 1, DType::kInt32);
  std::vector<int> ranks;
  for (int r = 0; r < host.size(); ++r) {
    if (all[static_cast<size_t>(r)] != 0) ranks.push_back(r);
  }
  if (ranks.empty()) return "";
  if (ranks.size() == all.size()) return "all ranks";
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

// The first parameter whose gradient is not finite, on any rank; null: none.
const Parameter* FirstNonFinite(const Model& model, const std::vector<Parameter*>& parameters,
                                DataParallel* parallel) {
  const auto count = static_cast<int64_t>(parameters.size());
  int64_t first = 0;
  while (first < count &&
         IsFinite(model, ReducedGradient(*parameters[static_cast<size_t>(first)]))) {
    ++first;
  }
  if (parallel != nullptr) {
    int64_t negated = -first;
    parallel->mesh().world().host().AllReduce(&negated, &negated, 1, DType::kInt64, ReduceOp::kMax);
    first = -negated;
  }
  return first < count ? parameters[static_cast<size_t>(first)] : nullptr;
}

}  // namespace

StepResult TrainStep(Model* model, Optimizer* optimizer, absl::Span<const Batch> micro_batches,
                     double lr, double max_norm, int64_t update, DataParallel* parallel,
                     size_t num_sources, StepAgreement* agreement) {
  const QkClipper* qk_clip = optimizer->qk_clip();
  if (qk_clip != nullptr) qk_clip->Reset();
  BeginPhase("batch");
  const int64_t num_targets =
      agreement != nullptr ? agreement->num_targets() : CountTargets(micro_batches, parallel);
  const Gradients gradients = ComputeGradients(model, micro_batches, num_targets, parallel,
                                               /*with_token_losses=*/num_sources > 0);
  if (agreement != nullptr && agreement->Finish().log_failed) return {.abandoned = true};
  if (qk_clip != nullptr && parallel != nullptr) parallel->MaxOverRanks(qk_clip->max_logits());
  BeginPhase("update");
  const Optimizer::Results step = optimizer->Step(lr, max_norm, gradients.loss, update);
  if (parallel != nullptr) parallel->ValuesChanged();
  StepResult result{
      .num_targets = num_targets, .flops = gradients.flops, .own_loss = gradients.own_loss};
  result.loss = ReadScalar(gradients.loss);
  result.grad_norm = ReadScalar(step.norm);
  result.updated = step.finite.ToVector<int32_t>()[0] != 0;
  result.expert_loads = ExpertLoads(*model);
  if (!result.expert_loads.empty()) result.balance_loss = ReadScalar(model->balance_loss());
  if (qk_clip != nullptr) result.logits = qk_clip->Read();
  if (num_sources > 0) {
    result.by_source = LossBySource(micro_batches, gradients.begins, gradients.token_losses,
                                    num_sources, parallel);
  }
  return result;
}

std::string DescribeNonFinite(Model* model, const StepResult& result,
                              absl::Span<const Batch> micro_batches, DataParallel* parallel) {
  if (!std::isfinite(result.loss)) {
    const std::string loss = absl::StrCat("the loss (", result.loss, ")");
    if (parallel == nullptr) return loss;
    const std::string ranks =
        RanksThat(!std::isfinite(ReadScalar(result.own_loss)), parallel->mesh().world().host());
    return ranks.empty() ? loss + ", summed over the ranks," : absl::StrCat(loss, " of ", ranks);
  }
  const Parameter* parameter = FirstNonFinite(*model, model->parameters(), parallel);
  if (parameter == nullptr) {
    return absl::StrCat("the norm of the whole gradient (", result.grad_norm, ")");
  }
  const std::string gradient = absl::StrCat("the gradient of ", parameter->name);
  if (parallel == nullptr) return gradient;
  // Only the sum is left. The values are as they were, so the same gradients come again.
  bool finite = true;
  parallel->ObserveGradients([&](const Parameter& p) {
    if (&p == parameter) finite = finite && IsFinite(*model, p.var.grad());
  });
  ComputeGradients(model, micro_batches, result.num_targets, parallel, /*with_token_losses=*/false);
  parallel->ObserveGradients(nullptr);
  const std::string ranks = RanksThat(!finite, parallel->mesh().world().host());
  return ranks.empty() ? gradient + ", summed over the ranks,"
                       : absl::StrCat(gradient, " on ", ranks);
}

}  // namespace wyvern
