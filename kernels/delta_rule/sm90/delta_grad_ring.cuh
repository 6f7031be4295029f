// What the gradient pass of a decay per head (delta_grad.cu) has in shared memory, and the copies
// that fill it.
#pragma once

#include "kernels/common/sm90/async.cuh"
#include "kernels/delta_rule/sm90/delta_grad_gates.cuh"

namespace wyvern::sm90 {

struct HeadGradMaps {
  TensorMap q, k, d_o, e, dv, states, d_states;
};

// A warpgroup that computes has 32 key channels, and 32 columns of P' or M' (64 of one of them if
// there are only two such warpgroups).
template <int kKeyBlocks>
struct HeadGradConfig {
  static constexpr int kGroups = 2 * kKeyBlocks;
  static constexpr int kQuarters = 4 / kGroups;  // of P' and M', per warpgroup
  static constexpr int kConsumers = kGroups * kWarpgroupThreads;
  static constexpr int kThreads = kConsumers + kWarpgroupThreads;
  static constexpr int kRegisters = kKeyBlocks == 2 ? 112 : 240;  // of a consumer
  static constexpr int kProducerRegisters = kKeyBlocks == 2 ? 32 : 24;
  static constexpr int kHeads = 2, kValues = kKeyBlocks == 2 ? 2 : 4;  // places in the rings
};

constexpr int kGradTurns = 4;  // of which the copies may be two ahead and the gates one behind

template <int kKeyBlocks>
struct HeadGradShared {
  using C = HeadGradConfig<kKeyBlocks>;
  struct Head {  // a chunk of one value head
    Bf16 q[kKeyBlocks][kTileElements], k[kKeyBlocks][kTileElements];
  } head[C::kHeads];
  struct Value {  // 64 of its value columns
    Bf16 d_o[kTileElements], e[kTileElements], dv[kTileElements];
    Bf16 states[kKeyBlocks][kTileElements], d_states[kKeyBlocks][kTileElements];
  } value[C::kValues];
  Bf16 pairs[2][kTileElements];  // P' and M'
  float rows[C::kHeads][kNumRowFactors][kChunk];
  GateSums<C::kGroups> sums[2];       // of this turn and the one before
  float dots[2][kChunk][C::kGroups];  // of rows: q dq, k dk
  GradTurn turns[kGradTurns];         // of turn n at n % kGradTurns; there with its head
  Barrier head_full[C::kHeads], head_empty[C::kHeads];
  Barrier value_full[C::kValues], value_empty[C::kValues];
};
static_assert(sizeof(HeadGradShared<1>) <= 232448 && sizeof(HeadGradShared<2>) <= 232448);

__device__ __forceinline__ int CountTurns(const Args& a) {
  const int items = a.num_chunks * a.heads, blocks = static_cast<int>(gridDim.x);
  return (items - static_cast<int>(blockIdx.x) + blocks - 1) / blocks * a.group;
}

// By one thread. Turns of a group of value heads follow one another.
template <int kKeyBlocks>
__device__ __forceinline__ void Produce(const Args& a, const HeadGradMaps& maps,
                                        HeadGradShared<kKeyBlocks>& s) {
  using C = HeadGradConfig<kKeyBlocks>;
  Ring heads{C::kHeads}, values{C::kValues};
  const int items = a.num_chunks * a.heads;
  int n = 0;
  Chunk next = a.chunks[static_cast<int>(blockIdx.x) / a.heads];
  for (int item = static_cast<int>(blockIdx.x); item < items; item += gridDim.x) {
    const Chunk chunk = next;
    const int c = item / a.heads, key_head = item % a.heads;
    const int following = item + static_cast<int>(gridDim.x);
    if (following < items) next = a.chunks[following / a.heads];
    for (int hv = key_head * a.group; hv < (key_head + 1) * a.group; ++hv, ++n) {
      auto& head = s.head[heads.place];
      Barrier& head_full = s.head_full[heads.place];
      Wait(s.head_empty[heads.place], heads.empty_parity());
      s.turns[n % kGradTurns] = {chunk, c, hv};
      ArriveExpecting(head_full, sizeof(head) + sizeof(s.rows[0]));
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) {
        CopyTokens(head.q[kb], maps.q, kb * kTile, key_head, chunk.first, head_full);
        CopyTokens(head.k[kb], maps.k, kb * kTile, key_head, chunk.first, head_full);
      }
      const int chunk_head = c * a.value_heads + hv;
      CopyBytes(s.rows[heads.place],
                a.rows + static_cast<int64_t>(chunk_head) * kNumRowFactors * kChunk,
                sizeof(s.rows[0]), head_full);
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
        CopyTokens(value.d_o, maps.d_o, v, hv, chunk.first, value_full);
        CopyTokens(value.e, maps.e, v, hv, chunk.first, value_full);
        CopyTokens(value.dv, maps.dv, v, hv, chunk.first, value_full);
        values.Advance();
      }
    }
  }
}

}  // namespace wyvern::sm90
