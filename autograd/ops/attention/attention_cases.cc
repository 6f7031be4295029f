#include <numeric>

#include "absl/strings/str_cat.h"
#include "autograd/ops/attention/attention.h"

namespace wyvern {
namespace {

struct Config {
  std::vector<int32_t> queries, keys;  // per document; no keys: as many as queries
  int64_t heads, kv_heads, key_dim, value_dim, window;
  bool finite_differences = true, max_logit = false;
};

std::vector<int32_t> Offsets(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> offsets(lengths.size() + 1, 0);
  std::partial_sum(lengths.begin(), lengths.end(), offsets.begin() + 1);
  return offsets;
}

std::string Join(const std::vector<int32_t>& lengths) {
  std::string text;
  for (const int32_t n : lengths) absl::StrAppend(&text, text.empty() ? "" : "+", n);
  return text;
}

Tensor IndexTensor(const std::vector<int32_t>& values) {
  return Tensor::FromVector(values, {static_cast<int64_t>(values.size())});
}

}  // namespace

std::vector<OpCase<Attention>> Attention::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<Attention>> cases;
  const Config configs[] = {
      // Documents: one token, tile boundaries, empty ones at either end.
      {{1}, {}, 2, 2, 16, 16, 0},
      {{5}, {}, 2, 1, 24, 16, 0, true, true},
      {{64}, {}, 2, 2, 40, 40, 0},
      {{1, 63, 65}, {}, 2, 1, 16, 24, 0},
      {{0, 130}, {}, 2, 2, 16, 16, 0},
      {{2, 0, 17}, {}, 4, 1, 24, 40, 0, true, true},
      {{7, 0}, {}, 4, 2, 13, 9, 0},  // rows that no vector load fits
      // Windows from one key to more than there are.
      {{70}, {}, 2, 1, 16, 16, 1},
      {{1, 63, 65}, {}, 2, 2, 16, 16, 3},
      {{130}, {}, 2, 1, 24, 16, 32},
      {{40, 9}, {}, 2, 2, 16, 16, 100},
      {{150}, {}, 1, 1, 16, 16, 64},
      // Queries at the end of more keys; a document whose keys nobody asks.
      {{1, 1}, {70, 3}, 4, 2, 16, 16, 0},
      {{3, 65}, {64, 66}, 2, 1, 16, 24, 0, true, true},
      {{20, 0, 1}, {90, 33, 1}, 2, 2, 24, 16, 17},
      // Equal documents: what cuDNN may serve.
      {{32, 32}, {}, 4, 2, 64, 64, 0},
      {{64, 64}, {}, 4, 1, 64, 64, 0},
      {{64, 64, 64}, {}, 2, 2, 64, 32, 20},
      // Larger heads and sequences.
      {{33}, {}, 2, 1, 192, 128, 0},
      {{100, 200}, {}, 4, 2, 64, 64, 0, false},
      {{300}, {}, 4, 1, 128, 128, 96, false, true},
      {{30, 99}, {}, 2, 2, 192, 256, 0, false},
      {{257}, {}, 2, 1, 256, 256, 40, false},
      {{65, 40}, {129, 200}, 4, 2, 128, 96, 50, false},
      {{512, 512}, {}, 2, 1, 128, 128, 0, false},
      {{256, 256}, {}, 4, 2, 128, 128, 0, false, true},
      {{128, 128}, {}, 2, 2, 192, 128, 0, false},
      {{128, 128}, {}, 2, 2, 192, 128, 0, false, true},
      {{256, 256}, {}, 4, 2, 128, 128, 100, false},
  };
  for (const Config& config : configs) {
    OpCase<Attention> c;
    const bool own_keys = !config.keys.empty();
    c.params.cu_seqlens_q_host = Offsets(config.queries);
    c.params.cu_seqlens_q = IndexTensor(c.params.cu_seqlens_q_host);
    if (own_keys) {
      c.params.cu_seqlens_k_host = Offsets(config.keys);
      c.params.cu_seqlens_k = IndexTensor(c.params.cu_seqlens_k_host);
    }
    c.params.window = config.window;
    c.params.want_max_logit = config.max_logit;
    c.unused_outputs = {"max_logit"};
    // Away from the default, so that it cannot be forgotten.
    if (config.window == 3) c.params.scale = 0.4;
    const int64_t num_q = c.params.cu_seqlens_q_host.back();
    const int64_t num_k = own_keys ? c.params.cu_seqlens_k_host.back() : num_q;
    c.in.q = random.Normal({num_q, config.heads, config.key_dim});
    c.in.k = random.Normal({num_k, config.kv_heads, config.key_dim});
    c.in.v = random.Normal({num_k, config.kv_heads, config.value_dim});
    c.name = absl::StrCat(Join(config.queries), own_keys ? " of " + Join(config.keys) : "",
                          " tokens, heads ", config.heads, "/", config.kv_heads, ", dims ",
                          config.key_dim, "/", config.value_dim, ", window ", config.window,
                          config.max_logit ? ", max logit" : "");
    // Each rounding to bf16 adds 1.7e-3 of relative RMS error: those of the probabilities or of
    // their gradients, of o before the backward reads it, and of the result. With a handful of
    // tokens the errors do not average out.
    c.bf16_tolerances = {{"o", 5e-3}, {"d_q", 6e-3}, {"d_k", 6e-3}, {"d_v", 6e-3}};
    c.finite_differences = config.finite_differences;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace wyvern
