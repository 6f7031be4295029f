// dq, dk, dbeta and dg of every chunk and value head, one block each. With Z = e dS+^T:
//
//   dq_i = s e^{G_i} (dO S^T)_i + sum_j dP'_ij k_j                              (rows)
//   a_i  = -beta_i e^{G_i} (y S^T)_i + sum_j dM'_ij k_j                         (rows of dk)
//   b_j  = e^{G_C - G_j} Z_j + sum_i dP'_ij q_i + sum_i dM'_ij k_i              (columns of dk)
//   dk   = a + b        dbeta_i = y_i (r - M e)_i = y_i e_i / beta_i
//   dg_t = sum_{i >= t} [q_i dq_i + k_i a_i - k_i b_i without Z]_i + sum_{j < t} kbar_j Z_j
//          + e^{G_C} sum_v S dS+
//
// r - M e would be a small difference of large terms where keys are alike; e_i / beta_i is not, and
// row i of A - I and e_i are proportional to beta_i, however small. dbeta is a sum over the value
// channels alone, so that the roundings of y and e would be most of its error: it takes what they
// lost along.
//
// Above, dP' = s dP exp(G_i - G_j), dM' = beta dM exp(G_i - G_j). With q = r x, what is left is r
// dq; its product with x is that of dq with q. Likewise for k. Pairs (i, j) of which both are >= t
// cancel in dg, and the gate's gradient is the small rest times large factors. With a decay per
// head only pairs with i >= t > j are summed, from dP_ij P_ij + beta_i dM_ij M_ij. With one per
// channel, rows and columns see the same rounded operands q exp(G_i - a), k exp(G_i - a), k exp(a -
// G_j) around the anchors a of wy.cu, and so cancel exactly.
#include <type_traits>

#include "kernels/delta_rule/cuda/anchors.cuh"
#include "kernels/delta_rule/cuda/passes.cuh"

namespace wyvern::delta {
namespace {

// The type of sums whose terms must cancel: double where the terms are fp32.
template <typename T>
using WideOf = std::conditional_t<kIsBf16<T>, float, double>;

// For row t = threadIdx.x, if there is one, the sum of pairs[i][j] over i >= t > j; else 0. A tile
// of its own, 0 where i <= j, which is overwritten.
__device__ __forceinline__ float SumOfPairsAround(float* pairs) {
  constexpr int kLd = kTileLd<float>;
  const int t = static_cast<int>(threadIdx.x);
  if (t < kChunk) {
    float* row = pairs + t * kLd;
    float before = 0;
    for (int j = 0; j <= t; ++j) {
      const float own = row[j];
      row[j] = before;
      before += own;
    }
  }
  __syncthreads();
  float sum = 0;
  if (t < kChunk) {
    for (int i = t; i < kChunk; ++i) sum += pairs[i * kLd + t];
  }
  return sum;
}

// For 64 key channels, u_t becomes the sum of u_i over i >= t, z_t that of z_j over j < t. The
// tiles are complete.
template <typename T>
__device__ __forceinline__ void SumOverRows(WideOf<T>* u, float* z) {
  constexpr int kLd = kTileLd<float>;
  const int tid = static_cast<int>(threadIdx.x);
  if (tid < kTile) {
    WideOf<T> sum = 0;
    for (int i = kChunk - 1; i >= 0; --i) {
      sum += u[i * kLd + tid];
      u[i * kLd + tid] = sum;
    }
  } else if (tid < 2 * kTile) {
    const int d = tid - kTile;
    float sum = 0;
    for (int i = 0; i < kChunk; ++i) {
      const float own = z[i * kLd + d];
      z[i * kLd + d] = sum;
      sum += own;
    }
  }
  __syncthreads();
}

// The part of one thread's 16 elements in a row's dot product of two tiles; four neighbouring
// threads share a row.
template <typename T>
__device__ __forceinline__ float QuarterRowDot(const T* x, const T* y) {
  const int at = static_cast<int>(threadIdx.x) / 4 * kTileLd<T> + threadIdx.x % 4 * 16;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    sum = fmaf(ToFloatDevice(x[at + i]), ToFloatDevice(y[at + i]), sum);
  }
  return sum;
}

__device__ __forceinline__ float SumOfFourLanes(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

template <typename T, DeltaDecay kDecay>
constexpr size_t ChunkGradSharedBytes() {
  return 7 * kTileBytes<T> + (kDecay == DeltaDecay::kPerChannel ? 2 * kTileBytes<float> : 0);
}

template <typename T, DeltaDecay kDecay>
__global__ void __launch_bounds__(kTileThreads, kIsBf16<T> ? 2 : 1)
    ChunkGradKernel(Args<T> a, const T* d_o, bool d_o_vectors) {
  constexpr bool kPerHead = kDecay == DeltaDecay::kPerHead;
  constexpr bool kPerChannel = kDecay == DeltaDecay::kPerChannel;
  constexpr int kLd = kTileLd<T>, kLdF = kTileLd<float>;
  extern __shared__ __align__(16) unsigned char shared[];
  T* const s_dp = reinterpret_cast<T*>(shared);
  T* const s_dm = s_dp + kTileSize<T>;
  T* const s_t0 = s_dm + kTileSize<T>;
  T* const s_t1 = s_t0 + kTileSize<T>;
  T* const s_t2 = s_t1 + kTileSize<T>;
  T* const s_t3 = s_t2 + kTileSize<T>;
  T* const s_t4 = s_t3 + kTileSize<T>;
  float* const s_sums = reinterpret_cast<float*>(s_t4 + kTileSize<T>);  // G
  float* const s_b = s_sums + kTileSize<float>;
  using Wide = WideOf<T>;
  Wide* const s_u = reinterpret_cast<Wide*>(s_t3);        // over s_t3 and s_t4
  float* const s_pairs = reinterpret_cast<float*>(s_t3);  // likewise
  __shared__ float s_beta[kChunk], s_g[kChunk], s_y_e[kChunk], s_q_norm[kChunk], s_k_norm[kChunk];
  __shared__ RowScales s_scales[kChunk];
  __shared__ float s_rows[2][2][kChunk];    // row sums: u, z; by half of the columns
  __shared__ float s_state_dot[4 * kTile];  // sum_v S dS+ of each key channel

  const int64_t chunk_head = blockIdx.x;
  const int hv = static_cast<int>(blockIdx.x % a.value_heads);
  const Chunk chunk = a.chunks[blockIdx.x / a.value_heads];
  const int Kp = a.key_pad(), Vp = a.value_pad(), tid = static_cast<int>(threadIdx.x);
  const int64_t token_head = static_cast<int64_t>(chunk.first) * a.value_heads + hv;
  const int64_t value_ld = static_cast<int64_t>(a.value_heads) * a.value_dim;
  const int64_t padded_ld = static_cast<int64_t>(a.value_heads) * Vp;
  const int64_t key_ld = static_cast<int64_t>(a.heads) * Kp;
  const int64_t key_row = (static_cast<int64_t>(chunk.first) * a.heads + hv / a.group) * Kp;
  const int row0 = 16 * (WarpId() % 4) + LaneId() / 4;
  const int column0 = 32 * (WarpId() / 4) + 2 * (LaneId() % 4);

  if (tid < kChunk) {
    const int64_t at = token_head + static_cast<int64_t>(min(tid, chunk.rows - 1)) * a.value_heads;
    s_beta[tid] = a.beta[at];
    if constexpr (kPerHead) s_g[tid] = a.g_sum[at];
    const int64_t key_head =
        static_cast<int64_t>(chunk.first + min(tid, chunk.rows - 1)) * a.heads + hv / a.group;
    s_q_norm[tid] = a.q_norm[key_head];
    s_k_norm[tid] = a.k_norm[key_head];
    s_scales[tid] = RowScalesOf(a, chunk, hv, tid);
  }

  // dP and dM.
  float row_u[2] = {0.f, 0.f}, row_z[2] = {0.f, 0.f};
  {
    TileAcc dp, dm;
    Clear(dp);
    Clear(dm);
    float y_e = 0;
    for (int vt = 0; vt < a.value_blocks; ++vt) {
      LoadTile(s_t0, d_o + token_head * a.value_dim + vt * kTile, value_ld, chunk.rows,
               min(kTile, a.value_dim - vt * kTile), d_o_vectors);
      LoadTile(s_t1, a.y + token_head * Vp + vt * kTile, padded_ld, chunk.rows, kTile, true);
      LoadTile(s_t2, a.e + token_head * Vp + vt * kTile, padded_ld, chunk.rows, kTile, true);
      if constexpr (kIsBf16<T>) {
        LoadTile(s_t3, a.y_rest + token_head * Vp + vt * kTile, padded_ld, chunk.rows, kTile, true);
        LoadTile(s_t4, a.e_rest + token_head * Vp + vt * kTile, padded_ld, chunk.rows, kTile, true);
      }
      CommitCopies();
      WaitCopies<0>();
      __syncthreads();
      TileMma<false, true>(dp, s_t0, s_t2);
      TileMma<false, true>(dm, s_t1, s_t2);
      y_e += QuarterRowDot(s_t1, s_t2);
      if constexpr (kIsBf16<T>) y_e += QuarterRowDot(s_t3, s_t2) + QuarterRowDot(s_t1, s_t4);
      __syncthreads();
    }
    y_e = SumOfFourLanes(y_e);
    if (tid % 4 == 0) s_y_e[tid / 4] = y_e;
    const T* m = a.m + chunk_head * kChunk * kChunk;
    const T* p = a.p + chunk_head * kChunk * kChunk;
#pragma unroll
    for (int part = 0; part < 4; ++part) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = row0 + 8 * half, j0 = column0 + 8 * part;
        Vec<T, 2> m_pair, p_pair;
        if constexpr (kPerHead) {
          m_pair = *reinterpret_cast<const Vec<T, 2>*>(m + i * kChunk + j0);
          p_pair = *reinterpret_cast<const Vec<T, 2>*>(p + i * kChunk + j0);
        }
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int j = j0 + n;
          float& p_ij = dp.c[part][2 * half + n];
          float& m_ij = dm.c[part][2 * half + n];
          const float dM = i > j ? -m_ij : 0.f;
          float decay = 1.f;
          if constexpr (kPerHead) {
            s_pairs[i * kLdF + j] = i > j ? p_ij * ToFloatDevice(p_pair.v[n]) +
                                                s_beta[i] * dM * ToFloatDevice(m_pair.v[n])
                                          : 0.f;
            decay = i >= j ? Exp<T>(s_g[i] - s_g[j]) : 0.f;
          }
          if constexpr (!kPerChannel) decay *= s_k_norm[j];
          const float q_norm = kPerChannel ? 1.f : s_q_norm[i];
          const float k_norm = kPerChannel ? 1.f : s_k_norm[i];
          p_ij = i >= j ? a.scale * p_ij * (decay * q_norm) : 0.f;
          m_ij = s_beta[i] * dM * (decay * k_norm);
        }
      }
    }
    StoreAcc(s_dp, dp);
    StoreAcc(s_dm, dm);
  }
  float dg_within = 0;  // of row tid: the sum over pairs i >= tid > j
  if constexpr (kPerHead) {
    __syncthreads();
    dg_within = SumOfPairsAround(s_pairs);
    __syncthreads();
  }

  for (int kb = 0; kb < a.key_blocks; ++kb) {
    // dO S^T, y S^T and Z.
    TileAcc dq, dk_row, dk_column;
    Clear(dq);
    Clear(dk_row);
    Clear(dk_column);
    float state_dot = 0;
    for (int vt = 0; vt < a.value_blocks; ++vt) {
      const int64_t state = (chunk_head * Kp + kb * kTile) * Vp + vt * kTile;
      LoadTile(s_t0, d_o + token_head * a.value_dim + vt * kTile, value_ld, chunk.rows,
               min(kTile, a.value_dim - vt * kTile), d_o_vectors);
      LoadTile(s_t1, a.y + token_head * Vp + vt * kTile, padded_ld, chunk.rows, kTile, true);
      LoadTile(s_t2, a.e + token_head * Vp + vt * kTile, padded_ld, chunk.rows, kTile, true);
      LoadTile(s_t3, a.states + state, Vp, kTile, kTile, true);
      LoadTile(s_t4, a.d_states + state, Vp, kTile, kTile, true);
      CommitCopies();
      WaitCopies<0>();
      __syncthreads();
      TileMma<false, true>(dq, s_t0, s_t3);
      TileMma<false, true>(dk_row, s_t1, s_t3);
      TileMma<false, true>(dk_column, s_t2, s_t4);
      if constexpr (kPerHead || kPerChannel) state_dot += QuarterRowDot(s_t3, s_t4);
      __syncthreads();
    }
    if constexpr (kPerHead || kPerChannel) {
      state_dot = SumOfFourLanes(state_dot);
      if (tid % 4 == 0) {
        const int d = kb * kTile + tid / 4;
        s_state_dot[d] = ChunkDecayOf(a, chunk, chunk_head / a.value_heads, hv, d) * state_dot;
      }
    }
    T* const s_k = s_t0;
    T* const s_q = s_t1;
    T* const s_columns = s_t2;
    LoadTile(s_k, a.k + key_row + kb * kTile, key_ld, chunk.rows, kTile, true);
    LoadTile(s_q, a.q + key_row + kb * kTile, key_ld, chunk.rows, kTile, true);
    if constexpr (kPerChannel) {
      LoadGateTile(s_sums, a.g_sum + token_head * Kp + kb * kTile,
                   static_cast<int64_t>(a.value_heads) * Kp, chunk.rows);
    }
    CommitCopies();
    WaitCopies<0>();
    __syncthreads();

    Wide u[4][4];  // with a decay per channel: the row part of dg
#pragma unroll
    for (int part = 0; part < 4; ++part) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int half = e / 2, i = row0 + 8 * half, d = column0 + 8 * part + e % 2;
        const float q = ToFloatDevice(s_q[i * kLd + d]), k = ToFloatDevice(s_k[i * kLd + d]);
        RowScales scales = s_scales[i];
        if constexpr (kPerChannel) {
          const float g = s_sums[i * kLdF + d], last = s_sums[(kChunk - 1) * kLdF + d];
          const float decay = Exp<T>(g);
          scales = {s_q_norm[i] * decay, s_k_norm[i] * decay, s_k_norm[i] * Exp<T>(last - g)};
        }
        const float y_s = scales.k * dk_row.c[part][e];
        dq.c[part][e] *= a.scale * scales.q;
        dk_row.c[part][e] = -s_beta[i] * y_s;
        dk_column.c[part][e] *= scales.k_bar;
        if constexpr (kPerHead) {
          row_u[half] += q * dq.c[part][e] + k * dk_row.c[part][e];
          row_z[half] = fmaf(k, dk_column.c[part][e], row_z[half]);
        }
        if constexpr (kPerChannel) u[part][e] = q * dq.c[part][e] + k * dk_row.c[part][e];
      }
    }

    if constexpr (kPerChannel) {
      AnchorColumns(s_columns, s_k, s_k_norm, s_sums);
      __syncthreads();
      const int warp_row = 16 * (WarpId() % 4), warp_column = 32 * (WarpId() / 4);
      for (int block = 0; block <= warp_row + 8; block += 8) {
#pragma unroll
        for (int part = 0; part < 4; ++part) {
          Wide from_p[4] = {}, from_m[4] = {};
          ProductOf8(from_p, s_dp, s_columns, warp_row, block, warp_column + 8 * part);
          ProductOf8(from_m, s_dm, s_columns, warp_row, block, warp_column + 8 * part);
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int i = row0 + 8 * (e / 2), d = column0 + 8 * part + e % 2;
            const float factor = RowFactor<T>(s_sums, i, block, d);
            const float q_factor = s_q_norm[i] * factor, k_factor = s_k_norm[i] * factor;
            const T q = FromFloatDevice<T>(ToFloatDevice(s_q[i * kLd + d]) * q_factor);
            const T k = FromFloatDevice<T>(ToFloatDevice(s_k[i * kLd + d]) * k_factor);
            dq.c[part][e] = fmaf(q_factor, static_cast<float>(from_p[e]), dq.c[part][e]);
            dk_row.c[part][e] = fmaf(k_factor, static_cast<float>(from_m[e]), dk_row.c[part][e]);
            u[part][e] += ToFloatDevice(q) * from_p[e] + ToFloatDevice(k) * from_m[e];
          }
        }
      }
      // Columns, transposed: 16 channels by the 8 columns of a block; a warp takes every other
      // block.
      const int channel0 = 16 * (WarpId() % 4);
      for (int block = 8 * (WarpId() / 4); block < kChunk; block += 16) {
        Wide c[4] = {};
        for (int i0 = block / 16 * 16; i0 < kChunk; i0 += 16) {
          FragmentA<T> q_rows, k_rows;
          MakeFragmentsA<T>(q_rows, k_rows, [&](int r, int k, T& x, T& y) {
            const int d = channel0 + r, i = i0 + k;
            const float factor = RowFactor<T>(s_sums, i, block, d);
            x = FromFloatDevice<T>(ToFloatDevice(s_q[i * kLd + d]) * (s_q_norm[i] * factor));
            y = FromFloatDevice<T>(ToFloatDevice(s_k[i * kLd + d]) * (s_k_norm[i] * factor));
          });
          FragmentB<T> columns;
          MakeFragmentB<T>(columns, [&](int k, int j) { return s_dp[(i0 + k) * kLd + block + j]; });
          FragmentMma<T>(c, q_rows, columns);
          MakeFragmentB<T>(columns, [&](int k, int j) { return s_dm[(i0 + k) * kLd + block + j]; });
          FragmentMma<T>(c, k_rows, columns);
        }
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int d = channel0 + LaneId() / 4 + 8 * (e / 2);
          const int j = block + 2 * (LaneId() % 4) + e % 2;
          s_b[j * kLdF + d] =
              s_k_norm[j] * ColumnFactor<T>(s_sums, j, d) * static_cast<float>(c[e]);
          s_u[j * kLdF + d] = -ToFloatDevice(s_columns[j * kLd + d]) * c[e];
        }
      }
      __syncthreads();
      // From here s_b holds kbar Z.
#pragma unroll
      for (int part = 0; part < 4; ++part) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int i = row0 + 8 * (e / 2), d = column0 + 8 * part + e % 2;
          const float z = ToFloatDevice(s_k[i * kLd + d]) * dk_column.c[part][e];
          dk_column.c[part][e] += s_b[i * kLdF + d];
          s_b[i * kLdF + d] = z;
          s_u[i * kLdF + d] += u[part][e];
        }
      }
      __syncthreads();
      SumOverRows<T>(s_u, s_b);
      float* dg = a.dg + token_head * Kp + kb * kTile;
      for (int i = tid; i < chunk.rows * kTile; i += kTileThreads) {
        const int row = i / kTile, d = i % kTile;
        dg[static_cast<int64_t>(row) * a.value_heads * Kp + d] =
            static_cast<float>(s_u[row * kLdF + d]) + s_b[row * kLdF + d] +
            s_state_dot[kb * kTile + d];
      }
    } else {
      TileMma<false, false>(dq, s_dp, s_k);
      TileMma<false, false>(dk_row, s_dm, s_k);
      TileMma<true, false>(dk_column, s_dp, s_q);
      TileMma<true, false>(dk_column, s_dm, s_k);
    }
#pragma unroll
    for (int part = 0; part < 4; ++part) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = row0 + 8 * half;
        if (i >= chunk.rows) continue;
        const int64_t at = (token_head + static_cast<int64_t>(i) * a.value_heads) * Kp +
                           kb * kTile + column0 + 8 * part;
        const int e = 2 * half;
        *reinterpret_cast<float2*>(a.dq + at) = make_float2(dq.c[part][e], dq.c[part][e + 1]);
        *reinterpret_cast<float2*>(a.dk + at) =
            make_float2(dk_row.c[part][e] + dk_column.c[part][e],
                        dk_row.c[part][e + 1] + dk_column.c[part][e + 1]);
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sums[2] = {SumOfFourLanes(row_u[half]), SumOfFourLanes(row_z[half])};
    if (LaneId() % 4 == 0) {
#pragma unroll
      for (int n = 0; n < 2; ++n) s_rows[n][WarpId() / 4][row0 + 8 * half] = sums[n];
    }
  }
  __syncthreads();
  if (tid < chunk.rows) {
    const int64_t at = token_head + static_cast<int64_t>(tid) * a.value_heads;
    a.d_beta[at] = s_y_e[tid] / s_beta[tid];
    if constexpr (kPerHead) {
      float suffix = 0, prefix = 0, state_dot = 0;
      for (int i = kChunk - 1; i >= tid; --i) suffix += s_rows[0][0][i] + s_rows[0][1][i];
      for (int i = 0; i < tid; ++i) prefix += s_rows[1][0][i] + s_rows[1][1][i];
      for (int d = 0; d < Kp; ++d) state_dot += s_state_dot[d];
      a.dg[at] = dg_within + suffix + prefix + state_dot;
    }
  }
}

template <typename T, DeltaDecay kDecay>
void Launch(const Args<T>& a, const T* d_o, cudaStream_t stream) {
  constexpr size_t kBytes = ChunkGradSharedBytes<T, kDecay>();
  AllowSharedMemory(ChunkGradKernel<T, kDecay>, kBytes);
  const unsigned blocks = static_cast<unsigned>(a.num_chunks * a.value_heads);
  ChunkGradKernel<T, kDecay>
      <<<blocks, kTileThreads, kBytes, stream>>>(a, d_o, MovesInVectors(d_o, a.value_dim));
  CUDA_CHECK_LAUNCH();
}

}  // namespace

template <typename T>
void ChunkGrad(const Args<T>& a, const T* d_o, cudaStream_t stream) {
  if (a.num_chunks == 0) return;
  switch (a.decay) {
    case DeltaDecay::kNone:
      return Launch<T, DeltaDecay::kNone>(a, d_o, stream);
    case DeltaDecay::kPerHead:
      return Launch<T, DeltaDecay::kPerHead>(a, d_o, stream);
    case DeltaDecay::kPerChannel:
      return Launch<T, DeltaDecay::kPerChannel>(a, d_o, stream);
  }
}

template void ChunkGrad(const Args<float>&, const float*, cudaStream_t);
template void ChunkGrad(const Args<Bf16>&, const Bf16*, cudaStream_t);

}  // namespace wyvern::delta
