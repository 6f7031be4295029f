#include "kernels/attention/cuda/cudnn_attention.h"

// cuDNN, and the NVRTC that the headers also call, are opened when the first plan is built: a
// machine without them runs the tiled kernels.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/attention/attention_plan.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/check.h"

// Declared by the headers; the user of dynamic loading defines it.
void* cudnn_frontend::cudnn_dlhandle = nullptr;

namespace wyvern {
namespace {

namespace fe = cudnn_frontend;
using TensorRef = std::shared_ptr<fe::graph::Tensor_attributes>;

enum Uid : int64_t { kQ = 1, kK, kV, kO, kStats, kDo, kDq, kDk, kDv, kRowMax, kRowSum };

struct Key {
  int64_t docs, length, keys, heads, kv_heads, key_dim, value_dim, window;
  int64_t heads_of_token;  // of which `heads` take part; kv_heads likewise
  int64_t q_stride, k_stride, v_stride, dv_stride;
  float scale;
  bool max_logit;  // of the forward
  bool causal;

  auto Tie() const {
    return std::tie(docs, length, keys, heads, kv_heads, key_dim, value_dim, window, heads_of_token,
                    q_stride, k_stride, v_stride, dv_stride, scale, max_logit, causal);
  }
  bool operator<(const Key& other) const { return Tie() < other.Tie(); }

  int64_t HeadsOfToken(int64_t part) const { return part * heads_of_token / heads; }
};

Key KeyOf(const AttentionShape& s) {
  const int64_t length = EqualLength(s);
  return {.docs = s.num_docs,
          .length = length,
          .keys = length,
          .heads = s.num_heads,
          .kv_heads = s.num_kv_heads,
          .key_dim = s.key_dim,
          .value_dim = s.value_dim,
          .window = s.window >= length ? 0 : s.window,
          .heads_of_token = s.num_heads,
          .q_stride = s.q_stride,
          .k_stride = s.k_stride,
          .v_stride = s.v_stride,
          .dv_stride = 0,
          .scale = static_cast<float>(s.scale),
          .max_logit = s.max_logit,
          .causal = true};
}

// One document, whose queries see all keys.
Key UnmaskedKeyOf(const AttentionShape& s) {
  Key key = KeyOf(s);
  key.length = s.num_queries;
  key.keys = s.num_keys;
  key.window = 0;
  key.causal = false;
  return key;
}

struct Plan {
  fe::graph::Graph graph;
  int64_t workspace_bytes = 0;
};

std::unique_ptr<Plan> NewPlan() {
  auto plan = std::make_unique<Plan>();
  plan->graph.set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  return plan;
}

// Packed tokens [N S, all heads, dim], of which `heads` are seen as [N, heads, S, dim], S queries
// or keys; tokens lie `token` elements apart, or one after another.
fe::graph::Tensor_attributes Packed(const Key& key, Uid uid, int64_t heads, int64_t dim,
                                    int64_t token = 0) {
  if (token == 0) token = key.HeadsOfToken(heads) * dim;
  const bool of_keys = uid == kK || uid == kV || uid == kDk || uid == kDv;
  const int64_t length = of_keys ? key.keys : key.length;
  return fe::graph::Tensor_attributes()
      .set_uid(uid)
      .set_dim({key.docs, heads, length, dim})
      .set_stride({length * token, dim, token, 1});
}

// A number for each row: its lse, or a part of that.
fe::graph::Tensor_attributes Stats(const Key& key, Uid uid = kStats) {
  return fe::graph::Tensor_attributes()
      .set_uid(uid)
      .set_dim({key.docs, key.heads, key.length, 1})
      // Packed also where not all heads take part: then there is one document.
      .set_stride({key.heads * key.length, key.length, 1, 1})
      .set_data_type(fe::DataType_t::FLOAT);
}

void SetOutput(const TensorRef& tensor, const fe::graph::Tensor_attributes& like) {
  tensor->set_output(true)
      .set_uid(like.get_uid())
      .set_dim(like.get_dim())
      .set_stride(like.get_stride())
      .set_data_type(like.get_data_type());
}

// Without a mask all keys are seen, else those with row >= column and, under a window, with column
// + window > row.
template <typename Attributes>
void SetMask(const Key& key, Attributes* attributes) {
  attributes->set_attn_scale(key.scale);
  if (!key.causal) return;
  attributes->set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
      .set_diagonal_band_right_bound(0);
  if (key.window > 0) attributes->set_diagonal_band_left_bound(static_cast<int>(key.window));
}

fe::error_t Build(cudnnHandle_t handle, Plan* plan) {
  fe::error_t status = plan->graph.build(handle, {fe::HeurMode_t::A});
  if (status.is_bad()) return status;
  return plan->graph.get_workspace_size(plan->workspace_bytes);
}

std::unique_ptr<Plan> ForwardPlan(cudnnHandle_t handle, const Key& key, std::string* why) {
  auto plan = NewPlan();
  fe::graph::Graph& graph = plan->graph;
  const TensorRef q = graph.tensor(Packed(key, kQ, key.heads, key.key_dim, key.q_stride));
  const TensorRef k = graph.tensor(Packed(key, kK, key.kv_heads, key.key_dim, key.k_stride));
  const TensorRef v = graph.tensor(Packed(key, kV, key.kv_heads, key.value_dim, key.v_stride));
  auto attributes =
      fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(!key.max_logit);
  SetMask(key, &attributes);
  if (key.max_logit) {
    // All versions of cuDNN give maxima and sums of the rows, only the newest lse beside them.
    const TensorRef row_max = graph.tensor(Stats(key, kRowMax)),
                    row_sum = graph.tensor(Stats(key, kRowSum));
    row_max->set_output(true);
    row_sum->set_output(true);
    attributes.set_logit_max(row_max).set_score_sum_exp(row_sum);
  }
  const auto [o, stats] = graph.sdpa(q, k, v, attributes);
  SetOutput(o, Packed(key, kO, key.heads, key.value_dim).set_data_type(fe::DataType_t::BFLOAT16));
  if (!key.max_logit) SetOutput(stats, Stats(key));
  fe::error_t status = Build(handle, plan.get());
  if (status.is_good()) return plan;
  *why = absl::StrCat("forward: ", status.get_message());
  return nullptr;
}

std::unique_ptr<Plan> BackwardPlan(cudnnHandle_t handle, const Key& key, std::string* why) {
  auto plan = NewPlan();
  fe::graph::Graph& graph = plan->graph;
  const TensorRef q = graph.tensor(Packed(key, kQ, key.heads, key.key_dim, key.q_stride));
  const TensorRef k = graph.tensor(Packed(key, kK, key.kv_heads, key.key_dim, key.k_stride));
  const TensorRef v = graph.tensor(Packed(key, kV, key.kv_heads, key.value_dim, key.v_stride));
  const TensorRef o = graph.tensor(Packed(key, kO, key.heads, key.value_dim));
  const TensorRef d_o = graph.tensor(Packed(key, kDo, key.heads, key.value_dim));
  const TensorRef stats = graph.tensor(Stats(key));
  auto attributes = fe::graph::SDPA_backward_attributes()
                        .set_name("attention_backward")
                        .set_deterministic_algorithm(true);
  SetMask(key, &attributes);
  const auto [dq, dk, dv] = graph.sdpa_backward(q, k, v, o, d_o, stats, attributes);
  const auto bf16 = fe::DataType_t::BFLOAT16;
  SetOutput(dq, Packed(key, kDq, key.heads, key.key_dim).set_data_type(bf16));
  SetOutput(dk, Packed(key, kDk, key.kv_heads, key.key_dim).set_data_type(bf16));
  SetOutput(dv, Packed(key, kDv, key.kv_heads, key.value_dim, key.dv_stride).set_data_type(bf16));
  fe::error_t status = Build(handle, plan.get());
  // Beside dP, some megabytes of partial sums.
  const int64_t pair_bytes = 2 * key.docs * key.heads * key.length * key.length;
  if (status.is_good() && plan->workspace_bytes <= pair_bytes + kCudnnBackwardBytes) return plan;
  *why = status.is_bad()
             ? absl::StrCat("backward: ", status.get_message())
             : absl::StrCat("backward: needs ", plan->workspace_bytes >> 20, " MiB of workspace");
  return nullptr;
}

class PlanCache {
 public:
  // Lives as long as the process: cuDNN's own teardown order is not ours to rely on.
  static PlanCache& Get() {
    static PlanCache* const cache = new PlanCache;
    return *cache;
  }

  // Null: cuDNN does not serve the shape.
  const Plan* Find(const Key& key, bool backward) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto& plans = backward ? backward_ : forward_;
    auto found = plans.find(key);
    if (found == plans.end()) found = plans.emplace(key, Make(key, backward)).first;
    return found->second.get();
  }

  void Execute(const Plan& plan, std::unordered_map<int64_t, void*> pointers, StreamHandle stream) {
    const Buffer workspace(Device::kCuda, plan.workspace_bytes);
    const std::lock_guard<std::mutex> lock(mutex_);
    CHECK(fe::detail::set_stream(handle_, static_cast<cudaStream_t>(stream)) ==
          CUDNN_STATUS_SUCCESS);
    fe::error_t status = plan.graph.execute(handle_, pointers, workspace.data());
    CHECK(status.is_good(), "cuDNN attention: ", status.get_message());
  }

 private:
  // Why it failed; empty on success.
  std::string Open() {
    // The headers prefer an older CUDA runtime over the one this program runs on.
    setenv("CUDNN_FRONTEND_CUDART_LIB_NAME", "libcudart.so.13", /*overwrite=*/0);
    fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW);
    if (fe::cudnn_dlhandle == nullptr) return dlerror();
    const cudnnStatus_t status = fe::detail::create_handle(&handle_);
    if (status == CUDNN_STATUS_SUCCESS) return "";
    handle_ = nullptr;
    return absl::StrCat("cudnnCreate: ", fe::detail::get_error_string(status));
  }

  std::unique_ptr<Plan> Make(const Key& key, bool backward) {
    std::unique_ptr<Plan> plan;
    std::string why;
    try {
      if (handle_ == nullptr) why = Open();
      if (handle_ != nullptr) {
        plan = backward ? BackwardPlan(handle_, key, &why) : ForwardPlan(handle_, key, &why);
      }
    } catch (const std::exception& e) {
      why = e.what();
    }
    if (plan == nullptr) {
      const std::string message =
          absl::StrCat("attention of ", key.docs, " x ", key.length, " tokens",
                       key.causal ? "" : absl::StrCat(" to ", key.keys), ", heads ", key.heads, "/",
                       key.kv_heads, ", dims ", key.key_dim, "/", key.value_dim, ", window ",
                       key.window, " runs without cuDNN (", why, ")\n");
      std::fputs(message.c_str(), stderr);
    }
    return plan;
  }

  std::mutex mutex_;
  cudnnHandle_t handle_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> forward_, backward_;
};

template <typename T>
void* Pointer(const T* p, int64_t offset = 0) {
  return const_cast<T*>(p) + offset;
}

// fn(key, first document, first key head) for each call of the backward.
template <typename F>
void ForEachCall(const AttentionBwdParams<Bf16>& p, const AttentionGroup& group, const F& fn) {
  const AttentionShape& s = p.shape;
  Key key = KeyOf(s);
  key.dv_stride = p.dv_stride;
  key.max_logit = false;
  for (int64_t doc = 0; doc < s.num_docs; doc += group.docs) {
    key.docs = std::min(group.docs, s.num_docs - doc);
    for (int64_t head = 0; head < s.num_kv_heads; head += group.kv_heads) {
      key.kv_heads = std::min(group.kv_heads, s.num_kv_heads - head);
      key.heads = key.kv_heads * (s.num_heads / s.num_kv_heads);
      fn(key, doc, head);
    }
  }
}

}  // namespace

bool CudnnAttentionForwardSupports(const AttentionShape& shape) {
  return PlanCache::Get().Find(KeyOf(shape), false) != nullptr;
}

bool CudnnAttentionBackwardSupports(const AttentionBwdParams<Bf16>& p,
                                    const AttentionGroup& group) {
  bool all = true;
  ForEachCall(p, group, [&](const Key& key, int64_t, int64_t) {
    all = all && PlanCache::Get().Find(key, true) != nullptr;
  });
  return all;
}

bool CudnnAttentionUnmaskedSupports(const AttentionShape& shape) {
  return PlanCache::Get().Find(UnmaskedKeyOf(shape), false) != nullptr;
}

void CudnnAttentionUnmasked(const AttentionFwdParams<Bf16>& p) {
  PlanCache& cache = PlanCache::Get();
  cache.Execute(
      *cache.Find(UnmaskedKeyOf(p.shape), false),
      {{kQ, Pointer(p.q)}, {kK, Pointer(p.k)}, {kV, Pointer(p.v)}, {kO, p.o}, {kStats, p.lse}},
      p.stream);
}

void CudnnAttentionForward(const AttentionFwdParams<Bf16>& p, float* row_max, float* row_sum) {
  PlanCache& cache = PlanCache::Get();
  std::unordered_map<int64_t, void*> pointers = {
      {kQ, Pointer(p.q)}, {kK, Pointer(p.k)}, {kV, Pointer(p.v)}, {kO, p.o}};
  if (p.shape.max_logit) {
    pointers[kRowMax] = row_max;
    pointers[kRowSum] = row_sum;
  } else {
    pointers[kStats] = p.lse;
  }
  cache.Execute(*cache.Find(KeyOf(p.shape), false), std::move(pointers), p.stream);
}

void CudnnAttentionBackward(const AttentionBwdParams<Bf16>& p, const AttentionGroup& group) {
  PlanCache& cache = PlanCache::Get();
  const AttentionShape& s = p.shape;
  ForEachCall(p, group, [&](const Key& key, int64_t doc, int64_t kv_head) {
    const int64_t token = doc * key.length, head = kv_head * (s.num_heads / s.num_kv_heads);
    const int64_t q = token * s.q_stride + head * s.key_dim,
                  k = token * s.k_stride + kv_head * s.key_dim,
                  v = token * s.v_stride + kv_head * s.value_dim,
                  o = (token * s.num_heads + head) * s.value_dim,
                  dq = (token * s.num_heads + head) * s.key_dim,
                  dk = (token * s.num_kv_heads + kv_head) * s.key_dim,
                  dv = token * p.dv_stride + kv_head * s.value_dim;
    cache.Execute(*cache.Find(key, true),
                  {{kQ, Pointer(p.q, q)},
                   {kK, Pointer(p.k, k)},
                   {kV, Pointer(p.v, v)},
                   {kO, Pointer(p.o, o)},
                   {kStats, Pointer(p.lse, token * s.num_heads + head * key.length)},
                   {kDo, Pointer(p.d_o, o)},
                   {kDq, p.dq + dq},
                   {kDk, p.dk + dk},
                   {kDv, p.dv + dv}},
                  p.stream);
  });
}

}  // namespace wyvern
