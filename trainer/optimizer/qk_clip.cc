#include "trainer/optimizer/qk_clip.h"

#include <algorithm>
#include <limits>

#include "autograd/profiler_range.h"
#include "kernels/optim/qk_clip.h"
#include "kernels/pointwise/elementwise.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

QkClipper::QkClipper(Model* model, double tau) : model_(model), tau_(tau) {
  int64_t num_heads = 0;
  for (const Mixer* mixer : model->mixers()) {
    const std::vector<QkRows> rows = mixer->qk_rows();
    if (!rows.empty()) num_heads += rows[0].num_heads;
  }
  max_logits_ = Tensor::Empty({num_heads}, AccDType(model->compute()), model->device());
  Reset();
  int64_t begin = 0;
  for (Mixer* mixer : model->mixers()) {
    const std::vector<QkRows> rows = mixer->qk_rows();
    if (rows.empty()) continue;
    const Tensor max_logit = max_logits_.Rows(begin, begin + rows[0].num_heads);
    begin += rows[0].num_heads;
    mixer->TrackMaxLogit(max_logit);
    for (const QkRows& r : rows) targets_.push_back({r, max_logit});
  }
}

QkClipper::~QkClipper() {
  for (Mixer* mixer : model_->mixers()) mixer->TrackMaxLogit(Tensor());
}

void QkClipper::Reset() const {
  Fill(max_logits_.device(), max_logits_.raw(), max_logits_.dtype(),
       -std::numeric_limits<double>::infinity(), max_logits_.numel(), ComputeStream());
}

void QkClipper::Apply(const Tensor& finite) const {
  ProfilerRange range("qk_clip", WorkClass::kMuon, Pass::kUpdate);
  Dispatch(model_->device(), model_->compute(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    QkClipParams<Io> params{
        .tau = tau_, .finite = finite.data<int32_t>(), .stream = ComputeStream()};
    for (const Target& target : targets_) {
      const Parameter& p = *target.rows.parameter;
      const FlatParameters::Updated updated = p.flat->UpdatedOf(p);
      const int64_t row = NumElements(p.shape) / p.shape[0];
      const int64_t end = target.rows.num_heads * target.rows.head_rows * row;  // of the heads
      const int64_t size = std::min(updated.slice.end, end) - updated.slice.begin;
      if (size <= 0) continue;
      params.tensors.push_back({.num_elements = size,
                                .first = updated.slice.begin,
                                .head_elements = target.rows.head_rows * row,
                                .begin = target.rows.begin * row,
                                .end = target.rows.end * row,
                                .exponent = target.rows.exponent,
                                .max_logit = target.max_logit.data<Acc>(),
                                .master = updated.master.data<Acc>(),
                                .copy = updated.copy.data<Io>()});
    }
    QkClip(tag, params);
  });
}

QkClipper::Summary QkClipper::Read() const {
  const std::vector<double> logits =
      max_logits_.To(Device::kCpu).To(DType::kFloat64).ToVector<double>();
  return {.max_logit = *std::max_element(logits.begin(), logits.end()),
          .clipped_heads = std::count_if(logits.begin(), logits.end(),
                                         [this](double logit) { return logit > tau_; })};
}

}  // namespace wyvern
