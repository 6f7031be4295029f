// The WY representation: M, P and A - I, A = (I + Diag(beta) M)^-1 by the UT transform, of every
// chunk and value head, one block each. No state is needed.
//
// With a decay per channel, exp(G_i - G_j) must be split into a factor of row i and one of column
// j. Columns are taken in blocks of 8, anchored at a = G of their fifth row: with steps clamped to
// -20, exp(a - G_j) and exp(G_i - a) stay within exp(+-80) for the block's own rows, which fits
// bf16 and fp32, and rows further down only underflow where the product does.
#include "kernels/delta_rule/cuda/anchors.cuh"
#include "kernels/delta_rule/cuda/passes.cuh"

namespace wyvern::delta {
namespace {

constexpr int kLdM = kTileLd<float>;

// The UT transform: inverse (64 x 64, rows of kLdM) = (I + m)^-1 for strictly lower triangular m.
// The 16 x 16 blocks on the diagonal by forward substitution, which alone is accurate for repeated
// keys; then A21 = -A22 (M21 A11) from 16 to 32 to 64, all in fp32. Overwrites m's upper triangle.
__device__ void UtTransform(float* m, float* inverse) {
  const int tid = static_cast<int>(threadIdx.x);
  for (int i = tid; i < kChunk * kChunk; i += kTileThreads) {
    inverse[i / kChunk * kLdM + i % kChunk] = 0.f;
  }
  __syncthreads();
  if (tid < kChunk) {
    const int block = tid / 16 * 16, column = tid % 16;
    const float* rows = m + block * kLdM + block;
    float x[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float sum = 0;
#pragma unroll
      for (int j = 0; j < i; ++j) sum = fmaf(rows[i * kLdM + j], x[j], sum);
      x[i] = i < column ? 0.f : i == column ? 1.f : -sum;
      inverse[(block + i) * kLdM + block + column] = x[i];
    }
  }
  __syncthreads();
#pragma unroll
  for (int size = 16; size < kChunk; size *= 2) {
    // Pairs of neighbouring diagonal blocks; the product M21 A11 goes where m's upper block is.
    const int outputs = kChunk / 2 * size;
    for (int i = tid; i < outputs; i += kTileThreads) {
      const int corner = i / (size * size) * 2 * size, r = i / size % size, c = i % size;
      const float* m21 = m + (corner + size + r) * kLdM + corner;
      const float* a11 = inverse + corner * kLdM + corner + c;
      float sum = 0;
#pragma unroll 8
      for (int k = 0; k < size; ++k) sum = fmaf(m21[k], a11[k * kLdM], sum);
      m[(corner + r) * kLdM + corner + size + c] = sum;
    }
    __syncthreads();
    for (int i = tid; i < outputs; i += kTileThreads) {
      const int corner = i / (size * size) * 2 * size, r = i / size % size, c = i % size;
      const float* a22 = inverse + (corner + size + r) * kLdM + corner + size;
      const float* product = m + corner * kLdM + corner + size + c;
      float sum = 0;
#pragma unroll 8
      for (int k = 0; k < size; ++k) sum = fmaf(a22[k], product[k * kLdM], sum);
      inverse[(corner + size + r) * kLdM + corner + c] = -sum;
    }
    __syncthreads();
  }
}

template <typename T, DeltaDecay kDecay>
constexpr size_t WySharedBytes() {
  return 2 * kTileBytes<float> + (kDecay == DeltaDecay::kPerChannel ? 3 : 2) * kTileBytes<T>;
}

template <typename T, DeltaDecay kDecay>
__global__ void __launch_bounds__(kTileThreads) WyKernel(Args<T> a) {
  extern __shared__ __align__(16) unsigned char shared[];
  float* s_m = reinterpret_cast<float*>(shared);
  float* s_inverse = s_m + kTileSize<float>;
  T* s_k = reinterpret_cast<T*>(s_inverse + kTileSize<float>);
  T* s_q = s_k + kTileSize<T>;
  __shared__ float s_beta[kChunk], s_g[kChunk], s_q_norm[kChunk], s_k_norm[kChunk];

  const int64_t chunk_head = blockIdx.x;
  const int hv = static_cast<int>(blockIdx.x % a.value_heads), Kp = a.key_pad();
  const Chunk chunk = a.chunks[blockIdx.x / a.value_heads];
  const int64_t token_head = static_cast<int64_t>(chunk.first) * a.value_heads + hv;
  const int64_t key_row = (static_cast<int64_t>(chunk.first) * a.heads + hv / a.group) * Kp;
  const int64_t key_ld = static_cast<int64_t>(a.heads) * Kp;
  if (threadIdx.x < kChunk) {
    const int row = min(static_cast<int>(threadIdx.x), chunk.rows - 1);
    const int64_t key_head = static_cast<int64_t>(chunk.first + row) * a.heads + hv / a.group;
    s_q_norm[threadIdx.x] = a.q_norm[key_head];
    s_k_norm[threadIdx.x] = a.k_norm[key_head];
    s_beta[threadIdx.x] = a.beta[token_head + static_cast<int64_t>(row) * a.value_heads];
    if constexpr (kDecay == DeltaDecay::kPerHead) {
      s_g[threadIdx.x] = a.g_sum[token_head + static_cast<int64_t>(row) * a.value_heads];
    }
  }
  T* m_out = a.m + chunk_head * kChunk * kChunk;
  T* p_out = a.p + chunk_head * kChunk * kChunk;
  // m and p are the sums over channels for (i, j) and (i, j + 1). Selection, not multiplication:
  // what lies above the diagonal may be infinite.
  const auto emit = [&](int i, int j, float m0, float m1, float p0, float p1) {
    const float M0 = i > j ? m0 : 0.f, M1 = i > j + 1 ? m1 : 0.f;
    const float P0 = i >= j ? p0 * a.scale : 0.f, P1 = i >= j + 1 ? p1 * a.scale : 0.f;
    *reinterpret_cast<Vec<T, 2>*>(m_out + i * kChunk + j) = {FromFloatDevice<T>(M0),
                                                             FromFloatDevice<T>(M1)};
    *reinterpret_cast<Vec<T, 2>*>(p_out + i * kChunk + j) = {FromFloatDevice<T>(P0),
                                                             FromFloatDevice<T>(P1)};
    s_m[i * kLdM + j] = s_beta[i] * M0;
    s_m[i * kLdM + j + 1] = s_beta[i] * M1;
  };

  if constexpr (kDecay == DeltaDecay::kPerChannel) {
    T* s_columns = s_q + kTileSize<T>;
    float* s_sums = s_inverse;  // until the inverse is written
    const int64_t g_ld = static_cast<int64_t>(a.value_heads) * Kp;
    const int row0 = 16 * (WarpId() % 4), parity = WarpId() / 4;
    float m[4][4] = {}, p[4][4] = {};
    for (int kb = 0; kb < a.key_blocks; ++kb) {
      LoadTile(s_k, a.k + key_row + kb * kTile, key_ld, chunk.rows, kTile, true);
      LoadTile(s_q, a.q + key_row + kb * kTile, key_ld, chunk.rows, kTile, true);
      LoadGateTile(s_sums, a.g_sum + token_head * Kp + kb * kTile, g_ld, chunk.rows);
      CommitCopies();
      WaitCopies<0>();
      __syncthreads();
      AnchorColumns(s_columns, s_k, s_k_norm, s_sums);
      __syncthreads();
      // A warp takes, of its 16 rows, every other block of 8 columns.
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int column0 = 16 * n + 8 * parity;
        if (16 * n > row0) continue;
#pragma unroll
        for (int d0 = 0; d0 < kTile; d0 += 16) {
          FragmentA<T> k_rows, q_rows;
          MakeFragmentsA<T>(k_rows, q_rows, [&](int r, int k, T& x, T& y) {
            const int i = row0 + r, d = d0 + k;
            const float factor = RowFactor<T>(s_sums, i, column0, d);
            x = FromFloatDevice<T>(ToFloatDevice(s_k[i * kTileLd<T> + d]) * (s_k_norm[i] * factor));
            y = FromFloatDevice<T>(ToFloatDevice(s_q[i * kTileLd<T> + d]) * (s_q_norm[i] * factor));
          });
          FragmentB<T> columns;
          MakeFragmentB<T>(columns, [&](int k, int j) {
            return s_columns[(column0 + j) * kTileLd<T> + d0 + k];
          });
          FragmentMma<T>(m[n], k_rows, columns);
          FragmentMma<T>(p[n], q_rows, columns);
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int i = row0 + LaneId() / 4, j = 16 * n + 8 * parity + 2 * (LaneId() % 4);
      emit(i, j, m[n][0], m[n][1], p[n][0], p[n][1]);
      emit(i + 8, j, m[n][2], m[n][3], p[n][2], p[n][3]);
    }
  } else {
    TileAcc m, p;
    Clear(m);
    Clear(p);
    for (int kb = 0; kb < a.key_blocks; ++kb) {
      LoadTile(s_k, a.k + key_row + kb * kTile, key_ld, chunk.rows, kTile, true);
      LoadTile(s_q, a.q + key_row + kb * kTile, key_ld, chunk.rows, kTile, true);
      CommitCopies();
      WaitCopies<0>();
      __syncthreads();
      TileMma<false, true>(m, s_k, s_k);
      TileMma<false, true>(p, s_q, s_k);
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = 16 * (WarpId() % 4) + LaneId() / 4 + 8 * half;
        const int j = 32 * (WarpId() / 4) + 8 * n + 2 * (LaneId() % 4);
        float factor[2] = {s_k_norm[j], s_k_norm[j + 1]};
        if constexpr (kDecay == DeltaDecay::kPerHead) {
          factor[0] *= Exp<T>(s_g[i] - s_g[j]);
          factor[1] *= Exp<T>(s_g[i] - s_g[j + 1]);
        }
        const float m0 = m.c[n][2 * half] * s_k_norm[i], m1 = m.c[n][2 * half + 1] * s_k_norm[i];
        const float p0 = p.c[n][2 * half] * s_q_norm[i], p1 = p.c[n][2 * half + 1] * s_q_norm[i];
        emit(i, j, m0 * factor[0], m1 * factor[1], p0 * factor[0], p1 * factor[1]);
      }
    }
  }
  __syncthreads();
  UtTransform(s_m, s_inverse);
  T* a_out = a.ut_less_one + chunk_head * kChunk * kChunk;
  for (int i = threadIdx.x; i < kChunk * kChunk / 2; i += kTileThreads) {
    const int r = i / (kChunk / 2), c = i % (kChunk / 2) * 2;
    const float a0 = r > c ? s_inverse[r * kLdM + c] : 0.f;
    const float a1 = r > c + 1 ? s_inverse[r * kLdM + c + 1] : 0.f;
    *reinterpret_cast<Vec<T, 2>*>(a_out + r * kChunk + c) = {FromFloatDevice<T>(a0),
                                                             FromFloatDevice<T>(a1)};
  }
}

template <typename T, DeltaDecay kDecay>
void Launch(const Args<T>& a, cudaStream_t stream) {
  constexpr size_t kBytes = WySharedBytes<T, kDecay>();
  AllowSharedMemory(WyKernel<T, kDecay>, kBytes);
  const unsigned blocks = static_cast<unsigned>(a.num_chunks * a.value_heads);
  WyKernel<T, kDecay><<<blocks, kTileThreads, kBytes, stream>>>(a);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

template <typename T>
void WyRepresentation(const Args<T>& a, cudaStream_t stream) {
  if (a.num_chunks == 0) return;
  switch (a.decay) {
    case DeltaDecay::kNone:
      return Launch<T, DeltaDecay::kNone>(a, stream);
    case DeltaDecay::kPerHead:
      return Launch<T, DeltaDecay::kPerHead>(a, stream);
    case DeltaDecay::kPerChannel:
      return Launch<T, DeltaDecay::kPerChannel>(a, stream);
  }
}

template void WyRepresentation(const Args<float>&, cudaStream_t);
template void WyRepresentation(const Args<Bf16>&, cudaStream_t);

}  // namespace wyvern::delta
