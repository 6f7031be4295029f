// The inter-chunk scan: one block per (document, value head, 64 value columns) goes through the
// document's chunks with the state S in registers (fp32), writes the S that enters each chunk and
// e, and ht.
#include "kernels/delta_rule/cuda/passes.cuh"

namespace wyvern::delta {
namespace {

// Tiles of shared memory. Resident: every operand of a chunk has its place, `stages` times, so that
// the next chunk loads while this one computes. Otherwise (fp32) keys, k_bar and A take turns.
struct StateScanLayout {
  bool resident;
  int stages, stage_tiles;
  size_t bytes;
};

template <typename T, int kKeyBlocks>
StateScanLayout MakeLayout(bool own_k_bar) {
  StateScanLayout layout = {kIsBf16<T>, 1, 0, (2 * kKeyBlocks + 1) * kTileBytes<T>};
  if (!layout.resident) return layout;
  layout.stage_tiles = kKeyBlocks * (own_k_bar ? 2 : 1) + 2;
  const int fixed = kKeyBlocks + 1;
  // Two stages where two blocks still share an SM's 227 KB (163 KB before Hopper serve one).
  layout.stages = (2 * layout.stage_tiles + fixed) * kTileBytes<T> <= 110 * 1024 ? 2 : 1;
  layout.bytes = (layout.stages * layout.stage_tiles + fixed) * kTileBytes<T>;
  return layout;
}

template <typename T, int kKeyBlocks>
__global__ void __launch_bounds__(kTileThreads, kIsBf16<T>&& kKeyBlocks <= 2 ? 2 : 1)
    StateScanKernel(Args<T> a, const T* v, const float* h0, float* ht, bool v_vectors,
                    StateScanLayout layout) {
  constexpr bool kResident = kIsBf16<T>;
  extern __shared__ __align__(16) unsigned char shared[];
  T* const s_state = reinterpret_cast<T*>(shared);     // S as an operand
  T* const s_e = s_state + kKeyBlocks * kTileSize<T>;  // beta r, then r e^{G_C - G} e
  T* const s_stages = s_e + kTileSize<T>;

  const int vt = static_cast<int>(blockIdx.x % a.value_blocks);
  const int64_t doc_head = blockIdx.x / a.value_blocks;
  const int hv = static_cast<int>(doc_head % a.value_heads);
  const int64_t doc = doc_head / a.value_heads;
  const int Kp = a.key_pad(), Vp = a.value_pad();
  const int columns = min(kTile, a.value_dim - vt * kTile);
  const int64_t operand_ld = static_cast<int64_t>(a.operand_heads) * Kp;
  const int operand_head = hv / (a.value_heads / a.operand_heads);
  const bool own_k_bar = a.state_k_bar != a.state_k;
  const int row0 = 16 * (WarpId() % 4) + LaneId() / 4;

  TileAcc state[kKeyBlocks];
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    ForEachPair(state[kb], [&](int row, int column, float& x, float& y) {
      const int d = kb * kTile + row;
      const float* from = h0 + (doc_head * a.key_dim + d) * a.value_dim + vt * kTile + column;
      const bool present = h0 != nullptr && d < a.key_dim;
      x = present && column < columns ? from[0] : 0.f;
      y = present && column + 1 < columns ? from[1] : 0.f;
    });
    StoreAcc(s_state + kb * kTileSize<T>, state[kb]);
  }

  const auto stage_of = [&](int c) {
    return s_stages + (kResident ? c % layout.stages * layout.stage_tiles * kTileSize<T> : 0);
  };
  const auto load_keys = [&](T* to, const T* operand, const Chunk& chunk) {
    const T* from = operand + chunk.first * operand_ld + static_cast<int64_t>(operand_head) * Kp;
#pragma unroll 1  // addresses of all tiles at once would not fit into the registers
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      LoadTile(to + kb * kTileSize<T>, from + kb * kTile, operand_ld, chunk.rows, kTile, true);
    }
  };
  const auto load_v = [&](T* to, const Chunk& chunk) {
    LoadTile(
        to, v + (static_cast<int64_t>(chunk.first) * a.value_heads + hv) * a.value_dim + vt * kTile,
        static_cast<int64_t>(a.value_heads) * a.value_dim, chunk.rows, columns, v_vectors);
  };
  const auto load_a = [&](T* to, int c) {
    LoadTile(to, a.ut_less_one + (static_cast<int64_t>(c) * a.value_heads + hv) * kChunk * kChunk,
             kChunk, kChunk, kTile, true);
  };
  // Resident stage: keys, k_bar (unless the same), A, v.
  const int a_tile = kKeyBlocks * (own_k_bar ? 2 : 1);
  const auto load_stage = [&](int c) {
    if constexpr (kResident) {
      const Chunk chunk = a.chunks[c];
      T* stage = stage_of(c);
      load_keys(stage, a.state_k, chunk);
      if (own_k_bar) load_keys(stage + kKeyBlocks * kTileSize<T>, a.state_k_bar, chunk);
      load_a(stage + a_tile * kTileSize<T>, c);
      load_v(stage + (a_tile + 1) * kTileSize<T>, chunk);
    }
    CommitCopies();
  };
  // Not resident: loads one operand now, into a place nobody reads any more after the barrier.
  const auto fetch = [&](auto&& load) {
    if constexpr (!kResident) {
      __syncthreads();
      load();
      CommitCopies();
      WaitCopies<0>();
      __syncthreads();
    }
  };

  const int begin = a.doc_chunks[doc], end = a.doc_chunks[doc + 1];
  if (begin < end) load_stage(begin);
  for (int c = begin; c < end; ++c) {
    if (layout.stages == 2) {
      if (c + 1 < end) {
        load_stage(c + 1);
      } else {
        CommitCopies();
      }
      WaitCopies<1>();
    } else {
      WaitCopies<0>();
    }
    __syncthreads();
    const Chunk chunk = a.chunks[c];
    const int64_t chunk_head = static_cast<int64_t>(c) * a.value_heads + hv;
    const int64_t token_head = static_cast<int64_t>(chunk.first) * a.value_heads + hv;
    T* const stage = stage_of(c);
    const T* const s_keys = stage;
    const T* const s_bar = kResident && own_k_bar ? stage + kKeyBlocks * kTileSize<T> : stage;
    const T* const s_a = kResident ? stage + a_tile * kTileSize<T> : stage;
    T* const s_v = kResident ? stage + (a_tile + 1) * kTileSize<T> : s_e;
    float beta[2];
    RowScales scales[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = row0 + 8 * half;
      beta[half] =
          row < chunk.rows ? a.beta[token_head + static_cast<int64_t>(row) * a.value_heads] : 0.f;
      scales[half] = RowScalesOf(a, chunk, hv, row);
    }
    // The operand in shared memory still is S itself.
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      const float decay[2] = {ChunkDecayOf(a, chunk, c, hv, kb * kTile + row0),
                              ChunkDecayOf(a, chunk, c, hv, kb * kTile + row0 + 8)};
      ForEachPairIndexed(state[kb], [&](int, int, int half, int, float& x, float& y) {
        x *= decay[half];
        y *= decay[half];
      });
    }

    // r = v - (e^G k) S
    fetch([&] {
      load_keys(stage, a.state_k, chunk);
      load_v(s_e, chunk);
    });
    TileAcc acc;
    Clear(acc);
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      TileMma<false, false>(acc, s_keys + kb * kTileSize<T>, s_state + kb * kTileSize<T>);
      StoreTile(a.states + (chunk_head * Kp + kb * kTile) * Vp + vt * kTile,
                s_state + kb * kTileSize<T>, Vp, kTile, kTile, true);
    }
    ForEachPairIndexed(acc, [&](int row, int column, int half, int, float& x, float& y) {
      const T* from = s_v + row * kTileLd<T> + column;
      x = beta[half] * (ToFloatDevice(from[0]) - scales[half].k * x);
      y = beta[half] * (ToFloatDevice(from[1]) - scales[half].k * y);
    });
    StoreAcc(s_e, acc);
    fetch([&] { load_a(stage, c); });
    if constexpr (kResident) __syncthreads();
    // e = beta r + (A - I) (beta r); the first term stays fp32.
    TileMma<false, false>(acc, s_a, s_e);
    __syncthreads();
    const auto store_e = [&] {
      StoreTile(a.e + token_head * Vp + vt * kTile, s_v, static_cast<int64_t>(a.value_heads) * Vp,
                chunk.rows, kTile, true);
    };
    StoreAcc(s_v, acc);
    if constexpr (!kResident) {  // e and its scaled form share a tile
      __syncthreads();
      store_e();
      __syncthreads();
    }
    if constexpr (kIsBf16<T>) {
      if (a.e_rest != nullptr) {
        StoreRest(a.e_rest + token_head * Vp + vt * kTile, acc,
                  static_cast<int64_t>(a.value_heads) * Vp, chunk.rows);
      }
    }
    ForEachPairIndexed(acc, [&](int, int, int half, int, float& x, float& y) {
      x *= scales[half].k_bar;
      y *= scales[half].k_bar;
    });
    StoreAcc(s_e, acc);
    fetch([&] { load_keys(stage, a.state_k_bar, chunk); });
    if constexpr (kResident) {
      __syncthreads();
      store_e();
    }
    // S = e^{G_C} S + kbar^T e
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      TileMma<true, false>(state[kb], s_bar + kb * kTileSize<T>, s_e);
      StoreAcc(s_state + kb * kTileSize<T>, state[kb]);
    }
    __syncthreads();
    if (layout.stages == 1 && c + 1 < end) load_stage(c + 1);
  }
  WaitCopies<0>();
  if (ht == nullptr) return;
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    ForEachPair(state[kb], [&](int row, int column, float x, float y) {
      const int d = kb * kTile + row;
      float* to = ht + (doc_head * a.key_dim + d) * a.value_dim + vt * kTile + column;
      if (d < a.key_dim && column < columns) to[0] = x;
      if (d < a.key_dim && column + 1 < columns) to[1] = y;
    });
  }
}

template <typename T, int kKeyBlocks>
void Launch(const Args<T>& a, const T* v, const float* h0, float* ht, cudaStream_t stream) {
  const StateScanLayout layout = MakeLayout<T, kKeyBlocks>(a.state_k_bar != a.state_k);
  AllowSharedMemory(StateScanKernel<T, kKeyBlocks>, layout.bytes);
  const unsigned blocks =
      static_cast<unsigned>(static_cast<int64_t>(a.num_docs) * a.value_heads * a.value_blocks);
  StateScanKernel<T, kKeyBlocks><<<blocks, kTileThreads, layout.bytes, stream>>>(
      a, v, h0, ht, MovesInVectors(v, a.value_dim), layout);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

template <typename T>
void StateScan(const Args<T>& a, const T* v, const float* h0, float* ht, cudaStream_t stream) {
  if (a.num_docs == 0) return;
  switch (a.key_blocks) {
    case 1:
      return Launch<T, 1>(a, v, h0, ht, stream);
    case 2:
      return Launch<T, 2>(a, v, h0, ht, stream);
    default:
      return Launch<T, 4>(a, v, h0, ht, stream);
  }
}

template void StateScan(const Args<float>&, const float*, const float*, float*, cudaStream_t);
template void StateScan(const Args<Bf16>&, const Bf16*, const float*, float*, cudaStream_t);

}  // namespace wyvern::delta
