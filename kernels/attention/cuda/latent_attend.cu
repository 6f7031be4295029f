// Blocks that attend to runs of keys: a tile of rows of queries and heads each, with a running
// softmax.
#include "kernels/attention/cuda/latent_attention.cuh"
#include "kernels/common/tile_mma.cuh"
#include "kernels/common/vector.cuh"

namespace wyvern {
namespace {

constexpr int kThreads = 256;

// Rows of shared memory: their width up to whole products, and space that spreads them over banks.
template <typename Io>
__host__ __device__ constexpr int PaddedWidth(int width) {
  return CeilDiv(width, 16) * 16;
}
template <typename Io>
__host__ __device__ constexpr int TileStride(int width) {
  return PaddedWidth<Io>(width) + (sizeof(Io) == 2 ? 8 : 4);
}
template <typename Io>
constexpr int kWeightStride = LatentTiles<Io>::kKeys + (sizeof(Io) == 2 ? 8 : 1);

template <typename Io>
size_t SharedBytes(int width) {
  using X = LatentTiles<Io>;
  return (X::kRows + X::kStages * X::kKeys) * TileStride<Io>(width) * sizeof(Io) +
         X::kRows * kWeightStride<Io> * sizeof(Io);
}

// `count` rows into a tile of kRows; what lies beyond them or their width is zero.
template <int kRows, typename Io>
__device__ __forceinline__ void CopyRows(const Io* from, int count, int width, bool vectors,
                                         Io* to) {
  const int stride = TileStride<Io>(width), padded = PaddedWidth<Io>(width);
  if (vectors) {
    constexpr int kPer = 16 / static_cast<int>(sizeof(Io));
    const int chunks = padded / kPer;
    for (int i = static_cast<int>(threadIdx.x); i < kRows * chunks; i += kThreads) {
      const int row = i / chunks, column = (i - row * chunks) * kPer;
      const bool inside = row < count && column < width;
      CopyAsync16(to + row * stride + column,
                  inside ? from + static_cast<int64_t>(row) * width + column : from, inside);
    }
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < kRows * padded; i += kThreads) {
      const int row = i / padded, column = i - row * padded;
      to[row * stride + column] = row < count && column < width
                                      ? from[static_cast<int64_t>(row) * width + column]
                                      : FromFloatDevice<Io>(0.f);
    }
  }
}

// The running softmax of a tile's rows. Maxima are in powers of two.
template <int kRows, int kParts>
struct RowState {
  float top[kRows], shrink[kRows];
  float part[kParts][kRows];  // of the warps that share a row: maxima, at the end sums

  // By one thread a row, after all parts have been written.
  __device__ void Advance(int row) {
    float next = top[row];
#pragma unroll
    for (int i = 0; i < kParts; ++i) next = fmaxf(next, part[i][row]);
    // A row that has seen no key yet keeps sums of zero; its maximum must not enter an exponent.
    shrink[row] = exp2f(top[row] - (next == -INFINITY ? 0.f : next));
    top[row] = next;
  }
  __device__ float Finite(int row) const { return top[row] == -INFINITY ? 0.f : top[row]; }
};

// Tiles of rows of a document.
template <typename Io>
__host__ __device__ int RowTiles(const LatentWork<Io>& work) {
  const int rows = work.key_begins == nullptr ? work.num_rows : work.num_heads;
  return CeilDiv(rows, LatentTiles<Io>::kRows);
}
template <typename Io>
__device__ int BlocksTile(const LatentWork<Io>& work) {
  return static_cast<int>(blockIdx.x) % RowTiles(work);
}
template <typename Io>
__device__ LatentDocument<Io> BlocksDocument(const LatentWork<Io>& work) {
  return GetLatentDocument(work, static_cast<int>(blockIdx.x) / RowTiles(work));
}

// Grid: x = document and tile of its rows, y = split. Warp w covers rows 16 (w % 2) and keys 16 (w
// / 2) of a tile's scores, and dims 64 w of its sums.
__global__ void __launch_bounds__(kThreads, 1) AttendKernel(LatentWork<Bf16> work) {
  using X = LatentTiles<Bf16>;
  constexpr int kParts = 4;
  extern __shared__ __align__(16) Bf16 shared_bf16[];
  __shared__ RowState<X::kRows, kParts> state;
  const int width = work.width, L = work.rank, stride = TileStride<Bf16>(width);
  Bf16* const sQ = shared_bf16;
  Bf16* const sK = sQ + X::kRows * stride;
  Bf16* const sP = sK + X::kStages * X::kKeys * stride;
  const LatentDocument<Bf16> doc = BlocksDocument(work);
  if (static_cast<int>(blockIdx.y) >= doc.num_splits) return;
  const int row0 = doc.row_begin + BlocksTile(work) * X::kRows;
  const int rows = min(X::kRows, doc.row_end - row0);
  const int first = static_cast<int>(blockIdx.y) * doc.tiles_per_split;
  const int seen = CeilDiv(doc.NumSeen(work, row0 + rows - 1), X::kKeys);
  const int num_tiles = max(0, min(doc.tiles_per_split, seen - first));
  const auto stage = [&](int tile) { return sK + tile % X::kStages * X::kKeys * stride; };
  const auto copy = [&](int tile) {
    const int j0 = (first + tile) * X::kKeys;
    CopyRows<X::kKeys>(doc.latent + static_cast<int64_t>(j0) * width,
                       min(X::kKeys, doc.num_keys - j0), width, work.vectors, stage(tile));
  };
  CopyRows<X::kRows>(work.a + static_cast<int64_t>(row0) * width, rows, width, work.vectors, sQ);
  if (num_tiles > 0) copy(0);
  CommitCopies();
  if (threadIdx.x < X::kRows) state.top[threadIdx.x] = -INFINITY;

  const int lane = LaneId(), warp = WarpId();
  const int score_row = warp % 2 * 16, score_key = warp / 2 * 16, sum_dim = warp * 64;
  const Bf16* const q_lane = sQ + (score_row + lane % 16) * stride + lane / 16 * 8;
  int num_seen[2];
  float row_sum[2] = {0, 0};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    num_seen[half] =
        doc.NumSeen(work, min(row0 + score_row + lane / 4 + half * 8, doc.row_end - 1));
  }
  float sum[2][8][4];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[m][n][e] = 0;
    }
  }
  for (int tile = 0; tile < num_tiles; ++tile) {
    if (tile + 1 < num_tiles) copy(tile + 1);
    CommitCopies();
    WaitCopies<1>();
    __syncthreads();
    const Bf16* const keys = stage(tile);
    const Bf16* const k_lane =
        keys + (score_key + lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8;
    float score[2][4] = {};
#pragma unroll 4
    for (int k = 0; k < PaddedWidth<Bf16>(width); k += 16) {
      uint32_t x[4], y[4];
      LoadMatrix4<false>(x, q_lane + k);
      LoadMatrix4<false>(y, k_lane + k);
      MmaBf16(score[0], x, y[0], y[1]);
      MmaBf16(score[1], x, y[2], y[3]);
    }
    float top[2] = {-INFINITY, -INFINITY};
    const int j0 = (first + tile) * X::kKeys + score_key + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool visible = j0 + n * 8 + e % 2 < num_seen[e / 2];
        score[n][e] = visible ? score[n][e] * work.scale : -INFINITY;
        top[e / 2] = fmaxf(top[e / 2], score[n][e]);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      top[half] = fmaxf(top[half], __shfl_xor_sync(0xffffffffu, top[half], 1));
      top[half] = fmaxf(top[half], __shfl_xor_sync(0xffffffffu, top[half], 2));
      if (lane % 4 == 0) state.part[warp / 2][score_row + lane / 4 + half * 8] = top[half];
    }
    __syncthreads();
    if (threadIdx.x < X::kRows) state.Advance(static_cast<int>(threadIdx.x));
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = score_row + lane / 4 + half * 8;
      const float finite = state.Finite(row);
      row_sum[half] *= state.shrink[row];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const float x = exp2f(score[n][half * 2] - finite),
                    y = exp2f(score[n][half * 2 + 1] - finite);
        row_sum[half] += x + y;
        *reinterpret_cast<uint32_t*>(sP + row * kWeightStride<Bf16> + score_key + n * 8 +
                                     lane % 4 * 2) = PackBf16(x, y);
      }
    }
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const float shrink[2] = {state.shrink[m * 16 + lane / 4],
                               state.shrink[m * 16 + lane / 4 + 8]};
#pragma unroll
      for (int n = 0; n < 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[m][n][e] *= shrink[e / 2];
      }
    }
    __syncthreads();
    if (sum_dim < L) {
#pragma unroll
      for (int k = 0; k < X::kKeys; k += 16) {
        uint32_t x[2][4];
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          LoadMatrix4<false>(x[m],
                             sP + (m * 16 + lane % 16) * kWeightStride<Bf16> + k + lane / 16 * 8);
        }
#pragma unroll
        for (int n = 0; n < 8; n += 2) {
          if (sum_dim + n * 8 >= L) break;
          uint32_t y[4];
          LoadMatrix4<true>(y, keys + (k + lane % 16) * stride + sum_dim + n * 8 + lane / 16 * 8);
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            MmaBf16(sum[m][n], x[m], y[0], y[1]);
            MmaBf16(sum[m][n + 1], x[m], y[2], y[3]);
          }
        }
      }
    }
    __syncthreads();  // the next iteration overwrites weights, maxima and the other stage
  }

  WaitCopies<0>();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    row_sum[half] += __shfl_xor_sync(0xffffffffu, row_sum[half], 1);
    row_sum[half] += __shfl_xor_sync(0xffffffffu, row_sum[half], 2);
    if (lane % 4 == 0) state.part[warp / 2][score_row + lane / 4 + half * 8] = row_sum[half];
  }
  __syncthreads();
  const int64_t out_row = static_cast<int64_t>(blockIdx.y) * work.num_rows + row0;
  if (static_cast<int>(threadIdx.x) < rows) {
    const int row = static_cast<int>(threadIdx.x);
    work.tops[out_row + row] = state.top[row];
    work.totals[out_row + row] =
        (state.part[0][row] + state.part[1][row]) + (state.part[2][row] + state.part[3][row]);
  }
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = m * 16 + lane / 4 + e / 2 * 8;
        const int dim = sum_dim + n * 8 + lane % 4 * 2 + e % 2;
        if (row < rows && dim < L) work.sums[(out_row + row) * L + dim] = sum[m][n][e];
      }
    }
  }
}

// The same in exact fp32. Thread (y, x) of 16 x 16 owns scores of row y and keys x, x + 16, and
// dims thread, thread + 256 of all rows' sums.
__global__ void __launch_bounds__(kThreads, 1) AttendKernel(LatentWork<float> work) {
  using X = LatentTiles<float>;
  extern __shared__ __align__(16) float shared_fp32[];
  __shared__ RowState<X::kRows, 1> state;
  __shared__ float totals[X::kRows];
  const int width = work.width, L = work.rank, stride = TileStride<float>(width);
  float* const sQ = shared_fp32;
  float* const sK = sQ + X::kRows * stride;
  float* const sP = sK + X::kKeys * stride;
  const LatentDocument<float> doc = BlocksDocument(work);
  if (static_cast<int>(blockIdx.y) >= doc.num_splits) return;
  const int row0 = doc.row_begin + BlocksTile(work) * X::kRows;
  const int rows = min(X::kRows, doc.row_end - row0);
  const int first = static_cast<int>(blockIdx.y) * doc.tiles_per_split;
  const int seen = CeilDiv(doc.NumSeen(work, row0 + rows - 1), X::kKeys);
  const int num_tiles = max(0, min(doc.tiles_per_split, seen - first));
  const int thread = static_cast<int>(threadIdx.x), row = thread / 16, column = thread % 16;
  const int num_seen = doc.NumSeen(work, min(row0 + row, doc.row_end - 1));
  CopyRows<X::kRows>(work.a + static_cast<int64_t>(row0) * width, rows, width, work.vectors, sQ);
  if (thread < X::kRows) {
    state.top[thread] = -INFINITY;
    totals[thread] = 0;
  }
  float sum[X::kRows][2] = {};
  for (int tile = 0; tile < num_tiles; ++tile) {
    const int j0 = (first + tile) * X::kKeys;
    CopyRows<X::kKeys>(doc.latent + static_cast<int64_t>(j0) * width,
                       min(X::kKeys, doc.num_keys - j0), width, work.vectors, sK);
    CommitCopies();
    WaitCopies<0>();
    __syncthreads();
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int j = column + 16 * c;
      float score = 0;
      for (int d = 0; d < width; ++d) score += sQ[row * stride + d] * sK[j * stride + d];
      sP[row * kWeightStride<float> + j] = j0 + j < num_seen ? score * work.scale : -INFINITY;
    }
    __syncthreads();
    if (thread < X::kRows) {
      float* const weights = sP + thread * kWeightStride<float>;
      float top = -INFINITY;
      for (int j = 0; j < X::kKeys; ++j) top = fmaxf(top, weights[j]);
      state.part[0][thread] = top;
      state.Advance(thread);
      float total = totals[thread] * state.shrink[thread];
      for (int j = 0; j < X::kKeys; ++j) {
        weights[j] = exp2f(weights[j] - state.Finite(thread));
        total += weights[j];
      }
      totals[thread] = total;
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int dim = thread + kThreads * c;
      if (dim >= L) continue;
#pragma unroll
      for (int r = 0; r < X::kRows; ++r) sum[r][c] *= state.shrink[r];
      for (int j = 0; j < X::kKeys; ++j) {
        const float x = sK[j * stride + dim];
#pragma unroll
        for (int r = 0; r < X::kRows; ++r) sum[r][c] += sP[r * kWeightStride<float> + j] * x;
      }
    }
    __syncthreads();  // the next iteration overwrites the tiles
  }
  CommitCopies();  // of a run that no row sees, the queries are still under way
  WaitCopies<0>();
  __syncthreads();
  const int64_t out_row = static_cast<int64_t>(blockIdx.y) * work.num_rows + row0;
  if (thread < rows) {
    work.tops[out_row + thread] = state.top[thread];
    work.totals[out_row + thread] = totals[thread];
  }
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const int dim = thread + kThreads * c;
#pragma unroll
    for (int r = 0; r < X::kRows; ++r) {
      if (r < rows && dim < L) work.sums[(out_row + r) * L + dim] = sum[r][c];
    }
  }
}

}  // namespace

template <typename Io>
void LatentAttend(const LatentWork<Io>& work, cudaStream_t stream) {
  void (*const attend)(LatentWork<Io>) = AttendKernel;
  const size_t bytes = SharedBytes<Io>(work.width);
  CUDA_CHECK(cudaFuncSetAttribute(attend, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes)));
  const int num_docs = work.key_begins == nullptr ? 1 : work.num_queries;
  const dim3 grid(static_cast<unsigned>(num_docs * RowTiles(work)),
                  static_cast<unsigned>(work.num_splits));
  attend<<<grid, kThreads, bytes, stream>>>(work);
  CUDA_CHECK_LAUNCH();
}

template void LatentAttend(const LatentWork<float>&, cudaStream_t);
template void LatentAttend(const LatentWork<Bf16>&, cudaStream_t);

}  // namespace wyvern
