// Tiled attention in exact fp32: the arithmetic of the bf16 kernels with FFMA. Tiles are
// 32 x 32; thread (y, x) of 16 x 16 owns rows y, y + 16 and columns x, x + 16, ... of each GEMM.
#include "kernels/attention/cuda/attention_tile.cuh"
#include "kernels/attention/cuda/attention_tiled.h"

namespace wyvern::attention {
namespace {

constexpr int kThreads = 256, kTile = 32;
constexpr int kWeightStride = kTile + 1;
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

template <int kDim>
constexpr int kElements = kTile* kStride<float, kDim>;
template <int kDim>
constexpr int kForwardBytes = (3 * kElements<kDim> + kTile * kWeightStride) * 4;
template <int kDim>
constexpr int kBackwardBytes = (4 * kElements<kDim> + 2 * kTile * kWeightStride) * 4;

__device__ __forceinline__ int ThreadX() { return static_cast<int>(threadIdx.x) % 16; }
__device__ __forceinline__ int ThreadY() { return static_cast<int>(threadIdx.x) / 16; }

// out[r][c] = row (y + 16 r) of a . row (x + 16 c) of b.
template <int kDim>
__device__ __forceinline__ void RowProducts(const float* a, const float* b, float (&out)[2][2]) {
  constexpr int kLd = kStride<float, kDim>;
  const float *a_row = a + ThreadY() * kLd, *b_row = b + ThreadX() * kLd;
#pragma unroll
  for (int r = 0; r < 2; ++r) out[r][0] = out[r][1] = 0;
#pragma unroll 4
  for (int d = 0; d < kDim; d += 4) {
    float4 x[2], y[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      x[r] = *reinterpret_cast<const float4*>(a_row + r * 16 * kLd + d);
      y[r] = *reinterpret_cast<const float4*>(b_row + r * 16 * kLd + d);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        out[r][c] += x[r].x * y[c].x + x[r].y * y[c].y + x[r].z * y[c].z + x[r].w * y[c].w;
      }
    }
  }
}

// acc[r][c] += sum over j of weights[y + 16 r][j] b[j][x + 16 c].
template <int kDim>
__device__ __forceinline__ void Accumulate(const float* weights, const float* b,
                                           float (&acc)[2][kDim / 16]) {
  const float* w = weights + ThreadY() * kWeightStride;
  const float* column = b + ThreadX();
#pragma unroll 4
  for (int j = 0; j < kTile; ++j) {
    const float w0 = w[j], w1 = w[16 * kWeightStride + j];
#pragma unroll
    for (int c = 0; c < kDim / 16; ++c) {
      const float x = column[j * kStride<float, kDim> + 16 * c];
      acc[0][c] += w0 * x;
      acc[1][c] += w1 * x;
    }
  }
}

template <int kColumns>
__device__ __forceinline__ void ClearRows(float (&acc)[2][kColumns]) {
#pragma unroll
  for (int c = 0; c < kColumns; ++c) acc[0][c] = acc[1][c] = 0;
}

template <int kColumns>
__device__ __forceinline__ void StoreColumns(const float (&acc)[2][kColumns],
                                             const float (&factor)[2], float* to,
                                             int64_t row_stride, int rows, int dim) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = ThreadY() + 16 * r;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = ThreadX() + 16 * c;
      if (row < rows && column < dim) to[row * row_stride + column] = acc[r][c] * factor[r];
    }
  }
}

// Over the 16 threads of one y, the same in each.
__device__ __forceinline__ float RowMax(float x) {
#pragma unroll
  for (int lanes = 8; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lanes));
  return x;
}
__device__ __forceinline__ float RowSum(float x) {
#pragma unroll
  for (int lanes = 8; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  return x;
}

// Grid: x = document * tiles of queries (the longest rows first), y = query head.
template <int kDim>
__global__ void __launch_bounds__(kThreads)
    ForwardKernel(AttentionFwdParams<float> p, int tiles_per_document, bool vectors,
                  float* row_max_out) {
  extern __shared__ __align__(16) float shared[];
  const AttentionShape& s = p.shape;
  const Document doc = GetDocument(s, static_cast<int>(blockIdx.x) / tiles_per_document);
  const int begin =
      (tiles_per_document - 1 - static_cast<int>(blockIdx.x) % tiles_per_document) * kTile;
  if (begin >= doc.num_q) return;
  const int rows = min(kTile, doc.num_q - begin);
  const int H = static_cast<int>(s.num_heads), HK = static_cast<int>(s.num_kv_heads);
  const int D = static_cast<int>(s.key_dim), DV = static_cast<int>(s.value_dim);
  const int h = static_cast<int>(blockIdx.y), hk = h / (H / HK);
  const int64_t row0 = static_cast<int64_t>(doc.q_begin + begin) * H + h;
  float *const sQ = shared, *const sK = sQ + kElements<kDim>, *const sV = sK + kElements<kDim>;
  float* const weights = sV + kElements<kDim>;
  CopyTile<kTile, kDim, kThreads>(
      p.q + static_cast<int64_t>(doc.q_begin + begin) * s.q_stride + h * D, s.q_stride, rows, D,
      vectors, sQ);
  const float scale = static_cast<float>(s.scale) * kLog2E;
  const int position = begin + ThreadY() + doc.offset;
  float row_max[2] = {-INFINITY, -INFINITY}, row_sum[2] = {0, 0};
  float o[2][kDim / 16];
  ClearRows(o);
  const Range keys = KeysOf(s, begin + doc.offset, begin + doc.offset + rows - 1);
  for (int j0 = keys.begin / kTile * kTile; j0 < keys.end; j0 += kTile) {
    const int count = min(kTile, doc.num_k - j0);
    CopyTile<kTile, kDim, kThreads>(
        p.k + static_cast<int64_t>(doc.k_begin + j0) * s.k_stride + hk * D, s.k_stride, count, D,
        vectors, sK);
    CopyTile<kTile, kDim, kThreads>(
        p.v + static_cast<int64_t>(doc.k_begin + j0) * s.v_stride + hk * DV, s.v_stride, count, DV,
        vectors, sV);
    CommitCopies();
    WaitCopies<0>();
    __syncthreads();
    float score[2][2];
    RowProducts<kDim>(sQ, sK, score);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const bool visible = Sees(s, position + 16 * r, j0 + ThreadX() + 16 * c);
        score[r][c] = visible ? score[r][c] * scale : -INFINITY;
      }
      const float top = fmaxf(row_max[r], RowMax(fmaxf(score[r][0], score[r][1])));
      // A row that has seen no key yet keeps sums of zero; its maximum must not enter an exponent.
      const float finite = top == -INFINITY ? 0.f : top;
      const float shrink = exp2f(row_max[r] - finite);
      row_max[r] = top;
      row_sum[r] *= shrink;
#pragma unroll
      for (int c = 0; c < kDim / 16; ++c) o[r][c] *= shrink;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float x = exp2f(score[r][c] - finite);
        row_sum[r] += x;
        weights[(ThreadY() + 16 * r) * kWeightStride + ThreadX() + 16 * c] = x;
      }
    }
    __syncthreads();
    Accumulate<kDim>(weights, sV, o);
    __syncthreads();  // the next iteration overwrites the tiles
  }
  float factor[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = RowSum(row_sum[r]);
    const int row = ThreadY() + 16 * r;
    factor[r] = 1 / sum;
    if (ThreadX() == 0 && row < rows) {
      p.lse[row0 + static_cast<int64_t>(row) * H] = row_max[r] * kLn2 + logf(sum);
      if (row_max_out != nullptr) {
        row_max_out[h * s.num_queries + doc.q_begin + begin + row] = row_max[r] * kLn2;
      }
    }
  }
  StoreColumns(o, factor, p.o + row0 * DV, static_cast<int64_t>(H) * DV, rows, DV);
}

// Grid: x = document * tiles of keys, y = key head.
template <int kDim>
__global__ void __launch_bounds__(kThreads)
    KeyKernel(AttentionBwdParams<float> p, const float* delta, LseStrides lse_strides,
              int tiles_per_document, bool vectors) {
  extern __shared__ __align__(16) float shared[];
  const AttentionShape& s = p.shape;
  const Document doc = GetDocument(s, static_cast<int>(blockIdx.x) / tiles_per_document);
  const int begin = static_cast<int>(blockIdx.x) % tiles_per_document * kTile;
  if (begin >= doc.num_k) return;
  const int rows = min(kTile, doc.num_k - begin);
  const int H = static_cast<int>(s.num_heads), HK = static_cast<int>(s.num_kv_heads);
  const int D = static_cast<int>(s.key_dim), DV = static_cast<int>(s.value_dim);
  const int hk = static_cast<int>(blockIdx.y), group = H / HK;
  float *const sK = shared, *const sV = sK + kElements<kDim>, *const sQ = sV + kElements<kDim>,
               *const sDo = sQ + kElements<kDim>;
  float *const prob = sDo + kElements<kDim>, *const ds = prob + kTile * kWeightStride;
  const int64_t key_row = static_cast<int64_t>(doc.k_begin + begin) * HK + hk;
  CopyTile<kTile, kDim, kThreads>(
      p.k + static_cast<int64_t>(doc.k_begin + begin) * s.k_stride + hk * D, s.k_stride, rows, D,
      vectors, sK);
  CopyTile<kTile, kDim, kThreads>(
      p.v + static_cast<int64_t>(doc.k_begin + begin) * s.v_stride + hk * DV, s.v_stride, rows, DV,
      vectors, sV);
  const float scale = static_cast<float>(s.scale);
  float dk[2][kDim / 16], dv[2][kDim / 16];
  ClearRows(dk);
  ClearRows(dv);
  const Range queries = QueriesOf(s, doc, begin, begin + rows - 1);
  for (int g = 0; g < group; ++g) {
    for (int i0 = queries.begin / kTile * kTile; i0 < queries.end; i0 += kTile) {
      const int count = min(kTile, doc.num_q - i0);
      const int64_t row = static_cast<int64_t>(doc.q_begin + i0) * H + hk * group + g;
      CopyTile<kTile, kDim, kThreads>(
          p.q + static_cast<int64_t>(doc.q_begin + i0) * s.q_stride + (hk * group + g) * D,
          s.q_stride, count, D, vectors, sQ);
      CopyTile<kTile, kDim, kThreads>(p.d_o + row * DV, static_cast<int64_t>(H) * DV, count, DV,
                                      vectors, sDo);
      CommitCopies();
      WaitCopies<0>();
      __syncthreads();
      // Transposed: rows are keys, columns queries.
      float score[2][2], d_prob[2][2];
      RowProducts<kDim>(sK, sQ, score);
      RowProducts<kDim>(sV, sDo, d_prob);
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int column = ThreadX() + 16 * c;
        const int64_t lse_at = static_cast<int64_t>(doc.q_begin) * H +
                               (hk * group + g) * lse_strides.head +
                               (i0 + column) * lse_strides.token;
        const float lse = column < count ? p.lse[lse_at] : 0.f;
        const float row_delta =
            column < count ? delta[row + static_cast<int64_t>(column) * H] : 0.f;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int j = ThreadY() + 16 * r;
          const bool visible = column < count && Sees(s, i0 + column + doc.offset, begin + j);
          const float x = visible ? exp2f((score[r][c] * scale - lse) * kLog2E) : 0.f;
          prob[j * kWeightStride + column] = x;
          ds[j * kWeightStride + column] = x * (d_prob[r][c] - row_delta);
        }
      }
      __syncthreads();
      Accumulate<kDim>(prob, sDo, dv);
      Accumulate<kDim>(ds, sQ, dk);
      __syncthreads();  // the next iteration overwrites the tiles
    }
  }
  WaitCopies<0>();  // of keys that no query sees
  const float one[2] = {1, 1}, scales[2] = {scale, scale};
  StoreColumns(dv, one, p.dv + static_cast<int64_t>(doc.k_begin + begin) * p.dv_stride + hk * DV,
               p.dv_stride, rows, DV);
  StoreColumns(dk, scales, p.dk + key_row * D, static_cast<int64_t>(HK) * D, rows, D);
}

// Grid: x = document * tiles of queries, y = query head.
template <int kDim>
__global__ void __launch_bounds__(kThreads)
    QueryKernel(AttentionBwdParams<float> p, const float* delta, LseStrides lse_strides,
                int tiles_per_document, bool vectors) {
  extern __shared__ __align__(16) float shared[];
  const AttentionShape& s = p.shape;
  const Document doc = GetDocument(s, static_cast<int>(blockIdx.x) / tiles_per_document);
  const int begin =
      (tiles_per_document - 1 - static_cast<int>(blockIdx.x) % tiles_per_document) * kTile;
  if (begin >= doc.num_q) return;
  const int rows = min(kTile, doc.num_q - begin);
  const int H = static_cast<int>(s.num_heads), HK = static_cast<int>(s.num_kv_heads);
  const int D = static_cast<int>(s.key_dim), DV = static_cast<int>(s.value_dim);
  const int h = static_cast<int>(blockIdx.y), hk = h / (H / HK);
  const int64_t row0 = static_cast<int64_t>(doc.q_begin + begin) * H + h;
  float *const sK = shared, *const sV = sK + kElements<kDim>, *const sQ = sV + kElements<kDim>,
               *const sDo = sQ + kElements<kDim>;
  float* const ds = sDo + kElements<kDim>;
  CopyTile<kTile, kDim, kThreads>(
      p.q + static_cast<int64_t>(doc.q_begin + begin) * s.q_stride + h * D, s.q_stride, rows, D,
      vectors, sQ);
  CopyTile<kTile, kDim, kThreads>(p.d_o + row0 * DV, static_cast<int64_t>(H) * DV, rows, DV,
                                  vectors, sDo);
  const float scale = static_cast<float>(s.scale);
  float lse[2], row_delta[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = ThreadY() + 16 * r;
    const int64_t lse_at = static_cast<int64_t>(doc.q_begin) * H + h * lse_strides.head +
                           (begin + row) * lse_strides.token;
    lse[r] = row < rows ? p.lse[lse_at] : 0.f;
    row_delta[r] = row < rows ? delta[row0 + static_cast<int64_t>(row) * H] : 0.f;
  }
  float dq[2][kDim / 16];
  ClearRows(dq);
  const Range keys = KeysOf(s, begin + doc.offset, begin + doc.offset + rows - 1);
  for (int j0 = keys.begin / kTile * kTile; j0 < keys.end; j0 += kTile) {
    const int count = min(kTile, doc.num_k - j0);
    CopyTile<kTile, kDim, kThreads>(
        p.k + static_cast<int64_t>(doc.k_begin + j0) * s.k_stride + hk * D, s.k_stride, count, D,
        vectors, sK);
    CopyTile<kTile, kDim, kThreads>(
        p.v + static_cast<int64_t>(doc.k_begin + j0) * s.v_stride + hk * DV, s.v_stride, count, DV,
        vectors, sV);
    CommitCopies();
    WaitCopies<0>();
    __syncthreads();
    float score[2][2], d_prob[2][2];
    RowProducts<kDim>(sQ, sK, score);
    RowProducts<kDim>(sDo, sV, d_prob);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int row_of_tile = ThreadY() + 16 * r, column = ThreadX() + 16 * c;
        const bool visible = Sees(s, begin + row_of_tile + doc.offset, j0 + column);
        const float x = visible ? exp2f((score[r][c] * scale - lse[r]) * kLog2E) : 0.f;
        ds[row_of_tile * kWeightStride + column] = x * (d_prob[r][c] - row_delta[r]);
      }
    }
    __syncthreads();
    Accumulate<kDim>(ds, sK, dq);
    __syncthreads();  // the next iteration overwrites the tiles
  }
  const float scales[2] = {scale, scale};
  StoreColumns(dq, scales, p.dq + row0 * D, static_cast<int64_t>(H) * D, rows, D);
}

template <int kDim>
void RunForward(const AttentionFwdParams<float>& p, const Launch& launch) {
  CUDA_CHECK(cudaFuncSetAttribute(ForwardKernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  kForwardBytes<kDim>));
  const int tiles = CeilDiv(launch.max_queries, kTile);
  const dim3 grid(static_cast<unsigned>(p.shape.num_docs * tiles),
                  static_cast<unsigned>(p.shape.num_heads));
  ForwardKernel<kDim><<<grid, kThreads, kForwardBytes<kDim>, ToStream(p.stream)>>>(
      p, tiles, launch.vectors, launch.row_max);
  CUDA_CHECK_LAUNCH();
}

template <int kDim>
void RunBackward(const AttentionBwdParams<float>& p, const float* delta, const Launch& launch) {
  constexpr int kBytes = kBackwardBytes<kDim>;
  const unsigned num_docs = static_cast<unsigned>(p.shape.num_docs);
  CUDA_CHECK(
      cudaFuncSetAttribute(KeyKernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int key_tiles = CeilDiv(launch.max_keys, kTile);
  const dim3 key_grid(num_docs * key_tiles, static_cast<unsigned>(p.shape.num_kv_heads));
  KeyKernel<kDim><<<key_grid, kThreads, kBytes, ToStream(p.stream)>>>(p, delta, launch.lse,
                                                                      key_tiles, launch.vectors);
  CUDA_CHECK_LAUNCH();
  CUDA_CHECK(
      cudaFuncSetAttribute(QueryKernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int query_tiles = CeilDiv(launch.max_queries, kTile);
  const dim3 query_grid(num_docs * query_tiles, static_cast<unsigned>(p.shape.num_heads));
  QueryKernel<kDim><<<query_grid, kThreads, kBytes, ToStream(p.stream)>>>(
      p, delta, launch.lse, query_tiles, launch.vectors);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

void TiledForward(const AttentionFwdParams<float>& p, const Launch& launch) {
  switch (launch.padded_dim) {
    case 64:
      return RunForward<64>(p, launch);
    case 128:
      return RunForward<128>(p, launch);
    default:
      return RunForward<256>(p, launch);
  }
}

void TiledBackward(const AttentionBwdParams<float>& p, const float* delta, const Launch& launch) {
  switch (launch.padded_dim) {
    case 64:
      return RunBackward<64>(p, delta, launch);
    case 128:
      return RunBackward<128>(p, delta, launch);
    default:
      return RunBackward<256>(p, delta, launch);
  }
}

}  // namespace wyvern::attention
