// Forward of tiled attention in bf16 (arXiv 2307.08691): a block holds 64 queries of one head, 16
// per warp, and streams the keys and values they see through two stages of shared memory.
#include "kernels/attention/cuda/attention_tile.cuh"
#include "kernels/attention/cuda/attention_tiled.h"

namespace wyvern::attention {
namespace {

constexpr int kThreads = 128;
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

template <int kDim>
struct Traits {
  static constexpr AttentionTiles kTiles = AttentionTilesFor(true, kDim);
  static constexpr int kQueries = kTiles.held, kKeys = kTiles.streamed_forward;
  static constexpr int kQueryElements = kQueries * kStride<Bf16, kDim>;
  static constexpr int kKeyElements = kKeys * kStride<Bf16, kDim>;
  static constexpr int kBytes = (kQueryElements + 4 * kKeyElements) * 2;
};

// Grid: x = document * tiles of queries (the longest rows first), y = query head.
template <int kDim>
__global__ void __launch_bounds__(kThreads)
    ForwardKernel(AttentionFwdParams<Bf16> p, int tiles_per_document, bool vectors,
                  float* row_max_out) {
  using X = Traits<kDim>;
  extern __shared__ __align__(16) Bf16 shared[];
  const AttentionShape& s = p.shape;
  const Document doc = GetDocument(s, static_cast<int>(blockIdx.x) / tiles_per_document);
  const int begin =
      (tiles_per_document - 1 - static_cast<int>(blockIdx.x) % tiles_per_document) * X::kQueries;
  if (begin >= doc.num_q) return;
  const int rows = min(X::kQueries, doc.num_q - begin);
  const int H = static_cast<int>(s.num_heads), HK = static_cast<int>(s.num_kv_heads);
  const int D = static_cast<int>(s.key_dim), DV = static_cast<int>(s.value_dim);
  const int h = static_cast<int>(blockIdx.y), hk = h / (H / HK);
  const int64_t row0 = static_cast<int64_t>(doc.q_begin + begin) * H + h;

  const Range keys = KeysOf(s, begin + doc.offset, begin + doc.offset + rows - 1);
  const int first = keys.begin / X::kKeys * X::kKeys;
  const int num_tiles = CeilDiv(keys.end - first, X::kKeys);
  Bf16* const sQ = shared;
  const auto stage = [&](int tile) {
    return shared + X::kQueryElements + tile % 2 * 2 * X::kKeyElements;
  };
  const auto copy = [&](int tile) {
    const int j0 = first + tile * X::kKeys, count = min(X::kKeys, doc.num_k - j0);
    Bf16* const to = stage(tile);
    CopyTile<X::kKeys, kDim, kThreads>(
        p.k + static_cast<int64_t>(doc.k_begin + j0) * s.k_stride + hk * D, s.k_stride, count, D,
        vectors, to);
    CopyTile<X::kKeys, kDim, kThreads>(
        p.v + static_cast<int64_t>(doc.k_begin + j0) * s.v_stride + hk * DV, s.v_stride, count, DV,
        vectors, to + X::kKeyElements);
  };
  CopyTile<X::kQueries, kDim, kThreads>(
      p.q + static_cast<int64_t>(doc.q_begin + begin) * s.q_stride + h * D, s.q_stride, rows, D,
      vectors, sQ);
  copy(0);
  CommitCopies();

  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * 16;
  const int position = begin + warp_row + lane / 4 + doc.offset;  // of the lane's first row
  const float scale = static_cast<float>(s.scale) * kLog2E;
  float row_max[2] = {-INFINITY, -INFINITY}, row_sum[2] = {0, 0};
  float o[kDim / 8][4];
  Clear(o);
  for (int tile = 0; tile < num_tiles; ++tile) {
    if (tile + 1 < num_tiles) copy(tile + 1);
    CommitCopies();
    WaitCopies<1>();
    __syncthreads();
    const Bf16* const sK = stage(tile);
    const int j0 = first + tile * X::kKeys;
    float score[X::kKeys / 8][4];
    Clear(score);
    MultiplyTransposed<kDim>(sQ + warp_row * kStride<Bf16, kDim>, sK, score);
    const bool all = AllSee(s, begin + warp_row + doc.offset, begin + warp_row + doc.offset + 15,
                            j0, j0 + X::kKeys - 1);
    float top[2] = {row_max[0], row_max[1]};
#pragma unroll
    for (int n = 0; n < X::kKeys / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int j = j0 + n * 8 + lane % 4 * 2 + e % 2;
        score[n][e] = all || Sees(s, position + e / 2 * 8, j) ? score[n][e] * scale : -INFINITY;
        top[e / 2] = fmaxf(top[e / 2], score[n][e]);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      top[half] = fmaxf(top[half], __shfl_xor_sync(0xffffffffu, top[half], 1));
      top[half] = fmaxf(top[half], __shfl_xor_sync(0xffffffffu, top[half], 2));
      // A row that has seen no key yet keeps sums of zero; its maximum must not enter an exponent.
      const float finite = top[half] == -INFINITY ? 0.f : top[half];
      const float shrink = exp2f(row_max[half] - finite);
      row_max[half] = top[half];
      top[half] = finite;
      row_sum[half] *= shrink;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        o[n][half * 2] *= shrink;
        o[n][half * 2 + 1] *= shrink;
      }
    }
#pragma unroll
    for (int n = 0; n < X::kKeys / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        score[n][e] = exp2f(score[n][e] - top[e / 2]);
        row_sum[e / 2] += score[n][e];
      }
    }
    Multiply<kDim>(score, sK + X::kKeyElements, o);
    __syncthreads();  // the next iteration's copies overwrite this stage
  }

  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    row_sum[half] += __shfl_xor_sync(0xffffffffu, row_sum[half], 1);
    row_sum[half] += __shfl_xor_sync(0xffffffffu, row_sum[half], 2);
    factor[half] = 1 / row_sum[half];
    const int row = warp_row + lane / 4 + half * 8;
    if (lane % 4 == 0 && row < rows) {
      p.lse[row0 + static_cast<int64_t>(row) * H] = row_max[half] * kLn2 + logf(row_sum[half]);
      if (row_max_out != nullptr) {
        row_max_out[h * s.num_queries + doc.q_begin + begin + row] = row_max[half] * kLn2;
      }
    }
  }
  StoreRows(o, factor, p.o + (row0 + static_cast<int64_t>(warp_row) * H) * DV,
            static_cast<int64_t>(H) * DV, rows - warp_row, DV);
}

template <int kDim>
void Run(const AttentionFwdParams<Bf16>& p, const Launch& launch) {
  using X = Traits<kDim>;
  CUDA_CHECK(cudaFuncSetAttribute(ForwardKernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  X::kBytes));
  const int tiles = CeilDiv(launch.max_queries, X::kQueries);
  const dim3 grid(static_cast<unsigned>(p.shape.num_docs * tiles),
                  static_cast<unsigned>(p.shape.num_heads));
  ForwardKernel<kDim>
      <<<grid, kThreads, X::kBytes, ToStream(p.stream)>>>(p, tiles, launch.vectors, launch.row_max);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

void TiledForward(const AttentionFwdParams<Bf16>& p, const Launch& launch) {
  switch (launch.padded_dim) {
    case 64:
      return Run<64>(p, launch);
    case 128:
      return Run<128>(p, launch);
    default:
      return Run<256>(p, launch);
  }
}

}  // namespace wyvern::attention
