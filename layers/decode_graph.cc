#include "layers/decode_graph.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/operation.h"

namespace wyvern {
namespace {

// Names the op that is being recorded, for the message of one that cannot be.
class OpNames : public RangeObserver {
 public:
  OpNames() { ObserveRanges(this); }
  ~OpNames() override { ObserveRanges(nullptr); }
  void Begin(const char* name, WorkClass, Pass) override {
    open_.push_back(std::make_unique<Operation>(absl::StrCat("recording ", name)));
  }
  void End(const Work&) override { open_.pop_back(); }

 private:
  std::vector<std::unique_ptr<Operation>> open_;
};

}  // namespace

DecodeGraph::DecodeGraph(Model* model, DecodeCache* cache, bool record)
    : model_(model),
      cache_(cache),
      record_(record && model->device() == Device::kCuda && model->EveryStepIsAlike()),
      arena_(model->device()) {}

void DecodeGraph::Prepare(absl::Span<const int32_t> ids) {
  const Device device = model_->device();
  const int64_t N = cache_->num_sequences();
  int64_t size = 2 * N;
  for (const auto& layer : cache_->layers_) size += layer->num_step_numbers();
  if (!numbers_.defined()) {
    numbers_ = Tensor::Empty({size}, DType::kInt32, device);
    hidden_ = Tensor::Empty({N, model_->config().hidden_size}, model_->compute(), device);
    packing_.cu_seqlens_host.resize(N + 1);
    std::iota(packing_.cu_seqlens_host.begin(), packing_.cu_seqlens_host.end(), 0);
    packing_.cu_seqlens = Tensor::FromVector(packing_.cu_seqlens_host, {N + 1}).To(device);
    packing_.positions = numbers_.Rows(N, 2 * N);
    packing_.step = true;
  }
  CHECK(numbers_.numel() == size, "the cache of another model");
  std::vector<int32_t> numbers(ids.begin(), ids.end());
  packing_.first_positions.assign(cache_->num_tokens_.begin(), cache_->num_tokens_.end());
  numbers.insert(numbers.end(), packing_.first_positions.begin(), packing_.first_positions.end());
  numbers.resize(size);
  addresses_.clear();
  int64_t begin = 2 * N;
  for (const auto& layer : cache_->layers_) {
    const int64_t count = layer->num_step_numbers();
    layer->PrepareStep({.numbers = numbers_.Rows(begin, begin + count),
                        .numbers_host = absl::MakeSpan(numbers).subspan(begin, count),
                        .addresses = &addresses_});
    begin += count;
  }
  CopyBytes(numbers_.raw(), device, numbers.data(), Device::kCpu, numbers_.nbytes());
  for (int64_t& count : cache_->num_tokens_) ++count;
}

void DecodeGraph::Run() {
  Tape tape(/*recording=*/false);
  const Tensor ids = numbers_.Rows(0, cache_->num_sequences());
  hidden_.CopyFrom(model_->Hidden(tape, ids, packing_, cache_).value());
}

Tensor DecodeGraph::Step(absl::Span<const int32_t> ids) {
  const int64_t N = cache_->num_sequences();
  CHECK(static_cast<int64_t>(ids.size()) == N, ids.size(), " tokens for ", N, " sequences");
  const auto& begun = cache_->num_tokens_;
  if (cache_->layers_.empty() || std::find(begun.begin(), begun.end(), 0) != begun.end()) {
    Tape tape(/*recording=*/false);
    const std::vector<int32_t> on_host(ids.begin(), ids.end());
    return model_
        ->Hidden(tape, Tensor::FromVector(on_host, {N}).To(model_->device()),
                 cache_->Next(std::vector<int64_t>(N, 1), model_->device()), cache_)
        .value();
  }
  Prepare(ids);
  if (graph_.recorded() && addresses_ == recorded_) {
    graph_.Launch();
    return hidden_;
  }
  const Arena::Scope memory(&arena_);
  // A recording needs a step before it that was queued with the same memory: kernels are loaded,
  // and the arena has what it takes.
  if (record_ && addresses_ == queued_) {
    const OpNames names;
    graph_.Record([this] { Run(); });
    ++num_records_;
    recorded_ = addresses_;
    graph_.Launch();
  } else {
    Run();
    queued_ = addresses_;
  }
  return hidden_;
}

}  // namespace wyvern
