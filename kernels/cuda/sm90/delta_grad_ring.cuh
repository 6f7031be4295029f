// What the gradient pass of a decay per head (delta_grad.cu) has in shared memory, and the copies
// that fill it.
#pragma once

#include "kernels/cuda/sm90/async.cuh"
#include "kernels/cuda/sm90/delta_grad_rows.cuh"

namespace wyvern::sm90 {

struct GradMaps {
  TensorMap q, k, d_o, e, dv, states, d_states;
};

template <int kKeyBlocks>
struct GradShared {
  static constexpr int kHeads = 2, kValues = kKeyBlocks == 2 ? 2 : 4;  // places in the rings
  struct Head {                                                        // a chunk of one value head
    Bf16 q[kKeyBlocks][kTileElements], k[kKeyBlocks][kTileElements];
    float rows[kNumRowFactors][kChunk];
  } head[kHeads];
  struct Value {  // 64 of its value columns
    Bf16 d_o[kTileElements], e[kTileElements], dv[kTileElements];
    Bf16 states[kKeyBlocks][kTileElements], d_states[kKeyBlocks][kTileElements];
  } value[kValues];
  Bf16 pairs[2][kTileElements];  // P' and M'
  GradSums sums[2];              // of this head and the one before
  Barrier head_full[kHeads], head_empty[kHeads], value_full[kValues], value_empty[kValues];
};

template <int kKeyBlocks>
__device__ __forceinline__ void ProduceGrad(const Args& a, const GradMaps& maps,
                                            GradShared<kKeyBlocks>& s) {
  Ring heads{s.kHeads}, values{s.kValues};
  const int items = a.num_chunks * a.heads;
  int next_token = a.chunks[static_cast<int>(blockIdx.x) / a.heads].first;
  for (int item = static_cast<int>(blockIdx.x); item < items; item += gridDim.x) {
    const int c = item / a.heads, key_head = item % a.heads, token = next_token;
    const int following = item + static_cast<int>(gridDim.x);
    if (following < items) next_token = a.chunks[following / a.heads].first;
    for (int hv = key_head * a.group; hv < (key_head + 1) * a.group; ++hv) {
      const int chunk_head = c * a.value_heads + hv;
      auto& head = s.head[heads.place];
      Barrier& head_full = s.head_full[heads.place];
      Wait(s.head_empty[heads.place], heads.empty_parity());
      ArriveExpecting(head_full, sizeof(head));
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) {
        CopyTokens(head.q[kb], maps.q, kb * kTile, key_head, token, head_full);
        CopyTokens(head.k[kb], maps.k, kb * kTile, key_head, token, head_full);
      }
      CopyBytes(head.rows, a.rows + static_cast<int64_t>(chunk_head) * kNumRowFactors * kChunk,
                sizeof(head.rows), head_full);
      heads.Advance();
      for (int v = 0; v < a.value_dim; v += kTile) {
        auto& value = s.value[values.place];
        Barrier& value_full = s.value_full[values.place];
        Wait(s.value_empty[values.place], values.empty_parity());
        ArriveExpecting(value_full, sizeof(value));
        const int row = chunk_head * a.value_dim + v;
#pragma unroll
        for (int kb = 0; kb < kKeyBlocks; ++kb) {
          CopyMatrix(value.states[kb], maps.states, kb * kTile, row, value_full);
          CopyMatrix(value.d_states[kb], maps.d_states, kb * kTile, row, value_full);
        }
        CopyTokens(value.d_o, maps.d_o, v, hv, token, value_full);
        CopyTokens(value.e, maps.e, v, hv, token, value_full);
        CopyTokens(value.dv, maps.dv, v, hv, token, value_full);
        values.Advance();
      }
    }
  }
}

}  // namespace wyvern::sm90
