// The backward of the inter-chunk scan: one block per (document, value head, 64 value columns) goes
// through the document's chunks in reverse with dS in registers (fp32), writes the gradient dS+ of
// the state that leaves each chunk, y, dv, and dh0.
#include "kernels/delta_rule/cuda/passes.cuh"

namespace wyvern::delta {
namespace {

// Resident: every operand of a chunk has its place in shared memory, `stages` times. Otherwise
// (fp32, or K > 128) they take turns in one place.
template <typename T, int kKeyBlocks>
constexpr bool kResident = kIsBf16<T>&& kKeyBlocks <= 2;
struct StateScanLayout {
  int stages, stage_tiles;
  size_t bytes;
};

template <typename T, int kKeyBlocks>
StateScanLayout MakeLayout(bool own_k_bar) {
  if (!kResident<T, kKeyBlocks>) {
    return {1, 0, (2 * kKeyBlocks + 1) * kTileBytes<T>};
  }
  StateScanLayout layout = {1, 3 + kKeyBlocks * (own_k_bar ? 3 : 2), 0};
  const int fixed = kKeyBlocks + 2;
  // Two stages where two blocks still share an SM's 227 KB.
  if ((2 * layout.stage_tiles + fixed) * kTileBytes<T> <= 110 * 1024) layout.stages = 2;
  layout.bytes = (layout.stages * layout.stage_tiles + fixed) * kTileBytes<T>;
  return layout;
}

template <typename T, int kKeyBlocks>
__global__ void __launch_bounds__(kTileThreads, kResident<T, kKeyBlocks> ? 2 : 1)
    StateScanBackwardKernel(Args<T> a, const T* d_o, const float* d_ht, T* dv, float* d_h0,
                            bool d_o_vectors, bool dv_pairs, StateScanLayout layout) {
  constexpr bool kAllResident = kResident<T, kKeyBlocks>;
  extern __shared__ __align__(16) unsigned char shared[];
  T* const s_ds = reinterpret_cast<T*>(shared);     // dS+ as an operand
  T* const s_r = s_ds + kKeyBlocks * kTileSize<T>;  // de, then r e^G dv
  T* const s_y = kAllResident ? s_r + kTileSize<T> : s_r;
  T* const s_stages = s_y + kTileSize<T>;

  const int vt = static_cast<int>(blockIdx.x % a.value_blocks);
  const int64_t doc_head = blockIdx.x / a.value_blocks;
  const int hv = static_cast<int>(doc_head % a.value_heads);
  const int64_t doc = doc_head / a.value_heads;
  const int Kp = a.key_pad(), Vp = a.value_pad();
  const int columns = min(kTile, a.value_dim - vt * kTile);
  const int64_t operand_ld = static_cast<int64_t>(a.operand_heads) * Kp;
  const int operand_head = hv / (a.value_heads / a.operand_heads);
  const int64_t value_ld = static_cast<int64_t>(a.value_heads) * a.value_dim;
  const bool own_k_bar = a.state_k_bar != a.state_k;
  const int row0 = 16 * (WarpId() % 4) + LaneId() / 4;

  TileAcc ds[kKeyBlocks];
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    ForEachPair(ds[kb], [&](int row, int column, float& x, float& y) {
      const int d = kb * kTile + row;
      const float* from = d_ht + (doc_head * a.key_dim + d) * a.value_dim + vt * kTile + column;
      const bool present = d_ht != nullptr && d < a.key_dim;
      x = present && column < columns ? from[0] : 0.f;
      y = present && column + 1 < columns ? from[1] : 0.f;
    });
    StoreAcc(s_ds + kb * kTileSize<T>, ds[kb]);
  }

  const auto load_keys = [&](T* to, const T* operand, const Chunk& chunk) {
    const T* from = operand + chunk.first * operand_ld + static_cast<int64_t>(operand_head) * Kp;
#pragma unroll 1  // addresses of all tiles at once would not fit into the registers
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      LoadTile(to + kb * kTileSize<T>, from + kb * kTile, operand_ld, chunk.rows, kTile, true);
    }
  };
  const auto load_d_o = [&](T* to, const Chunk& chunk) {
    LoadTile(
        to,
        d_o + (static_cast<int64_t>(chunk.first) * a.value_heads + hv) * a.value_dim + vt * kTile,
        value_ld, chunk.rows, columns, d_o_vectors);
  };
  const auto load_square = [&](T* to, const T* matrices, int c) {
    LoadTile(to, matrices + (static_cast<int64_t>(c) * a.value_heads + hv) * kChunk * kChunk,
             kChunk, kChunk, kTile, true);
  };
  // Resident stage: dO, P, A, k_bar, q and, unless the same as k_bar, k.
  const auto stage_of = [&](int c) {
    return s_stages + (kAllResident ? c % layout.stages * layout.stage_tiles * kTileSize<T> : 0);
  };
  constexpr int kBarTile = 3, kQTile = kBarTile + kKeyBlocks, kKTile = kQTile + kKeyBlocks;
  const auto load_stage = [&](int c) {
    if constexpr (kAllResident) {
      const Chunk chunk = a.chunks[c];
      T* stage = stage_of(c);
      load_d_o(stage, chunk);
      load_square(stage + kTileSize<T>, a.p, c);
      load_square(stage + 2 * kTileSize<T>, a.ut_less_one, c);
      load_keys(stage + kBarTile * kTileSize<T>, a.state_k_bar, chunk);
      load_keys(stage + kQTile * kTileSize<T>, a.state_q, chunk);
      if (own_k_bar) load_keys(stage + kKTile * kTileSize<T>, a.state_k, chunk);
    }
    CommitCopies();
  };
  // Not resident: loads operands now, into places nobody reads any more after the barrier.
  const auto fetch = [&](auto&& load) {
    if constexpr (!kAllResident) {
      __syncthreads();
      load();
      CommitCopies();
      WaitCopies<0>();
      __syncthreads();
    }
  };

  const int begin = a.doc_chunks[doc], end = a.doc_chunks[doc + 1];
  if (begin < end) load_stage(end - 1);
  for (int c = end - 1; c >= begin; --c) {
    if (layout.stages == 2) {
      if (c > begin) {
        load_stage(c - 1);
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
    T* const s_do = kAllResident ? stage : s_r;
    const T* const s_p = kAllResident ? stage + kTileSize<T> : stage;
    const T* const s_a = kAllResident ? stage + 2 * kTileSize<T> : stage;
    const T* const s_bar = kAllResident ? stage + kBarTile * kTileSize<T> : stage;
    const T* const s_q = kAllResident ? stage + kQTile * kTileSize<T> : stage;
    const T* const s_k = kAllResident && own_k_bar ? stage + kKTile * kTileSize<T> : s_bar;
    float beta[2];
    RowScales scales[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = row0 + 8 * half;
      beta[half] =
          row < chunk.rows ? a.beta[token_head + static_cast<int64_t>(row) * a.value_heads] : 0.f;
      scales[half] = RowScalesOf(a, chunk, hv, row);
    }
    // The operand in shared memory still is dS+ itself.
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      const float decay[2] = {ChunkDecayOf(a, chunk, c, hv, kb * kTile + row0),
                              ChunkDecayOf(a, chunk, c, hv, kb * kTile + row0 + 8)};
      ForEachPairIndexed(ds[kb], [&](int, int, int half, int, float& x, float& y) {
        x *= decay[half];
        y *= decay[half];
      });
    }

    TileAcc acc;
    // dO becomes r e^G dO, once nobody needs dO itself.
    const auto scale_d_o = [&] {
      if (a.decay == DeltaDecay::kPerChannel) return;
      ForEachPairIndexed(acc, [&](int row, int column, int half, int, float, float) {
        T* at = s_do + row * kTileLd<T> + column;
        at[0] = FromFloatDevice<T>(ToFloatDevice(at[0]) * scales[half].q);
        at[1] = FromFloatDevice<T>(ToFloatDevice(at[1]) * scales[half].q);
      });
    };

    // de = P^T dO + kbar dS+
    fetch([&] { load_keys(stage, a.state_k_bar, chunk); });
    Clear(acc);
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      TileMma<false, false>(acc, s_bar + kb * kTileSize<T>, s_ds + kb * kTileSize<T>);
      StoreTile(a.d_states + (chunk_head * Kp + kb * kTile) * Vp + vt * kTile,
                s_ds + kb * kTileSize<T>, Vp, kTile, kTile, true);
    }
    ForEachPairIndexed(acc, [&](int, int, int half, int, float& x, float& y) {
      x *= scales[half].k_bar;
      y *= scales[half].k_bar;
    });
    fetch([&] {
      load_d_o(s_r, chunk);
      load_square(stage, a.p, c);
    });
    TileMma<true, false>(acc, s_p, s_do);
    if constexpr (!kAllResident) __syncthreads();
    StoreAcc(s_r, acc);
    fetch([&] { load_square(stage, a.ut_less_one, c); });
    if constexpr (kAllResident) __syncthreads();
    // y = de + (A - I)^T de, the first term in fp32; dv = beta y
    TileMma<true, false>(acc, s_a, s_r);
    __syncthreads();
    StoreAcc(s_y, acc);
    if constexpr (!kAllResident) __syncthreads();
    if constexpr (kIsBf16<T>) {
      StoreRest(a.y_rest + token_head * Vp + vt * kTile, acc,
                static_cast<int64_t>(a.value_heads) * Vp, chunk.rows);
    }
    const auto store_y = [&] {
      StoreTile(a.y + token_head * Vp + vt * kTile, s_y, static_cast<int64_t>(a.value_heads) * Vp,
                chunk.rows, kTile, true);
    };
    if constexpr (!kAllResident) {  // y and dv share a tile
      store_y();
      __syncthreads();
    }
    ForEachPairIndexed(acc, [&](int row, int column, int half, int, float& x, float& y) {
      x *= beta[half];
      y *= beta[half];
      if (dv != nullptr && row < chunk.rows) {
        T* to = dv + (token_head + static_cast<int64_t>(row) * a.value_heads) * a.value_dim +
                vt * kTile + column;
        if (column + 1 < columns && dv_pairs) {
          *reinterpret_cast<Vec<T, 2>*>(to) = {FromFloatDevice<T>(x), FromFloatDevice<T>(y)};
        } else {
          if (column < columns) to[0] = FromFloatDevice<T>(x);
          if (column + 1 < columns) to[1] = FromFloatDevice<T>(y);
        }
      }
      x *= scales[half].k;
      y *= scales[half].k;
    });
    StoreAcc(s_r, acc);
    if constexpr (kAllResident) scale_d_o();
    fetch([&] { load_keys(stage, a.state_k, chunk); });
    if constexpr (kAllResident) {
      __syncthreads();
      store_y();
    }
    // dS = e^{G_C} dS+ - (e^G k)^T dv + s (e^G q)^T dO
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      Clear(acc);
      TileMma<true, false>(acc, s_k + kb * kTileSize<T>, s_r);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) ds[kb].c[i][j] -= acc.c[i][j];
      }
    }
    fetch([&] {
      load_d_o(s_r, chunk);
      load_keys(stage, a.state_q, chunk);
    });
    if constexpr (!kAllResident) {
      scale_d_o();
      __syncthreads();
    }
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      Clear(acc);
      TileMma<true, false>(acc, s_q + kb * kTileSize<T>, s_do);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          ds[kb].c[i][j] = fmaf(a.scale, acc.c[i][j], ds[kb].c[i][j]);
        }
      }
      StoreAcc(s_ds + kb * kTileSize<T>, ds[kb]);
    }
    __syncthreads();
    if (layout.stages == 1 && c > begin) load_stage(c - 1);
  }
  WaitCopies<0>();
  if (d_h0 == nullptr) return;
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    ForEachPair(ds[kb], [&](int row, int column, float x, float y) {
      const int d = kb * kTile + row;
      float* to = d_h0 + (doc_head * a.key_dim + d) * a.value_dim + vt * kTile + column;
      if (d < a.key_dim && column < columns) to[0] = x;
      if (d < a.key_dim && column + 1 < columns) to[1] = y;
    });
  }
}

template <typename T, int kKeyBlocks>
void Launch(const Args<T>& a, const T* d_o, const float* d_ht, T* dv, float* d_h0,
            cudaStream_t stream) {
  const StateScanLayout layout = MakeLayout<T, kKeyBlocks>(a.state_k_bar != a.state_k);
  AllowSharedMemory(StateScanBackwardKernel<T, kKeyBlocks>, layout.bytes);
  const unsigned blocks =
      static_cast<unsigned>(static_cast<int64_t>(a.num_docs) * a.value_heads * a.value_blocks);
  StateScanBackwardKernel<T, kKeyBlocks><<<blocks, kTileThreads, layout.bytes, stream>>>(
      a, d_o, d_ht, dv, d_h0, MovesInVectors(d_o, a.value_dim),
      a.value_dim % 2 == 0 && reinterpret_cast<uintptr_t>(dv) % (2 * sizeof(T)) == 0, layout);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

template <typename T>
void StateScanBackward(const Args<T>& a, const T* d_o, const float* d_ht, T* dv, float* d_h0,
                       cudaStream_t stream) {
  if (a.num_docs == 0) return;
  switch (a.key_blocks) {
    case 1:
      return Launch<T, 1>(a, d_o, d_ht, dv, d_h0, stream);
    case 2:
      return Launch<T, 2>(a, d_o, d_ht, dv, d_h0, stream);
    default:
      return Launch<T, 4>(a, d_o, d_ht, dv, d_h0, stream);
  }
}

template void StateScanBackward(const Args<float>&, const float*, const float*, float*, float*,
                                cudaStream_t);
template void StateScanBackward(const Args<Bf16>&, const Bf16*, const float*, Bf16*, float*,
                                cudaStream_t);

}  // namespace wyvern::delta
