// Backward of tiled attention in bf16 (arXiv 2307.08691): the probabilities are computed again from
// the scores and lse. One kernel holds keys and sums dk and dv over the queries that see them, head
// after head of the group; another holds queries and sums dq. No block writes where another does.
#include "kernels/attention/cuda/attention_tile.cuh"
#include "kernels/attention/cuda/attention_tiled.h"

namespace wyvern::attention {
namespace {

constexpr int kThreads = 128;
constexpr float kLog2E = 1.4426950408889634f;

template <int kDim>
struct Traits {
  static constexpr AttentionTiles kTiles = AttentionTilesFor(true, kDim);
  static constexpr int kHeld = kTiles.held, kStreamed = kTiles.streamed_backward;
  static constexpr int kHeldElements = kHeld * kStride<Bf16, kDim>;
  static constexpr int kStreamedElements = kStreamed * kStride<Bf16, kDim>;
  // The registers hold dk and dv at once only up to 128 columns; beyond, each has its own blocks.
  static constexpr bool kSplit = kDim > 128;
};

// Shared memory: tiles that a block holds, and two stages of those that it streams.
template <int kDim>
struct KeyShared {
  using X = Traits<kDim>;
  Bf16 k[X::kHeldElements], v[X::kHeldElements];
  struct {
    Bf16 q[X::kStreamedElements], d_o[X::kStreamedElements];
  } stages[2];
  struct {
    float lse[X::kStreamed], delta[X::kStreamed];
  } rows[2];
};
template <int kDim>
struct QueryShared {
  using X = Traits<kDim>;
  Bf16 q[X::kHeldElements], d_o[X::kHeldElements];
  struct {
    Bf16 k[X::kStreamedElements], v[X::kStreamedElements];
  } stages[2];
};

// Grid: x = document * tiles of keys, y = key head, z = {dv, dk} when they are split.
template <int kDim>
__global__ void __launch_bounds__(kThreads)
    KeyKernel(AttentionBwdParams<Bf16> p, const float* delta, LseStrides lse_strides,
              int tiles_per_document, bool vectors) {
  using X = Traits<kDim>;
  extern __shared__ __align__(16) unsigned char memory[];
  KeyShared<kDim>& shared = *reinterpret_cast<KeyShared<kDim>*>(memory);
  const AttentionShape& s = p.shape;
  const Document doc = GetDocument(s, static_cast<int>(blockIdx.x) / tiles_per_document);
  const int begin = static_cast<int>(blockIdx.x) % tiles_per_document * X::kHeld;
  if (begin >= doc.num_k) return;
  const int rows = min(X::kHeld, doc.num_k - begin);
  const int H = static_cast<int>(s.num_heads), HK = static_cast<int>(s.num_kv_heads);
  const int D = static_cast<int>(s.key_dim), DV = static_cast<int>(s.value_dim);
  const int hk = static_cast<int>(blockIdx.y), group = H / HK;
  const bool with_dv = !X::kSplit || blockIdx.z == 0, with_dk = !X::kSplit || blockIdx.z == 1;

  const Range queries = QueriesOf(s, doc, begin, begin + rows - 1);
  const int first = queries.begin / X::kStreamed * X::kStreamed;
  const int tiles_per_head = CeilDiv(max(0, queries.end - first), X::kStreamed);
  const int num_tiles = tiles_per_head * group;
  const int64_t lse_begin = static_cast<int64_t>(doc.q_begin) * H;
  const auto copy = [&](int tile) {
    const int h = hk * group + tile / tiles_per_head;
    const int i0 = first + tile % tiles_per_head * X::kStreamed;
    const int count = min(X::kStreamed, doc.num_q - i0);
    const int64_t row = static_cast<int64_t>(doc.q_begin + i0) * H + h;
    auto& stage = shared.stages[tile % 2];
    CopyTile<X::kStreamed, kDim, kThreads>(
        p.q + static_cast<int64_t>(doc.q_begin + i0) * s.q_stride + h * D, s.q_stride, count, D,
        vectors, stage.q);
    CopyTile<X::kStreamed, kDim, kThreads>(p.d_o + row * DV, static_cast<int64_t>(H) * DV, count,
                                           DV, vectors, stage.d_o);
    const int i = static_cast<int>(threadIdx.x);
    if (i < X::kStreamed) {
      const int64_t lse_at = lse_begin + h * lse_strides.head + (i0 + i) * lse_strides.token;
      const int64_t delta_at = row + static_cast<int64_t>(i) * H;
      shared.rows[tile % 2].lse[i] = i < count ? p.lse[lse_at] * kLog2E : 0.f;
      shared.rows[tile % 2].delta[i] = i < count ? delta[delta_at] : 0.f;
    }
  };
  const int64_t key_row = static_cast<int64_t>(doc.k_begin + begin) * HK + hk;
  CopyTile<X::kHeld, kDim, kThreads>(
      p.k + static_cast<int64_t>(doc.k_begin + begin) * s.k_stride + hk * D, s.k_stride, rows, D,
      vectors, shared.k);
  CopyTile<X::kHeld, kDim, kThreads>(
      p.v + static_cast<int64_t>(doc.k_begin + begin) * s.v_stride + hk * DV, s.v_stride, rows, DV,
      vectors, shared.v);
  if (num_tiles > 0) copy(0);
  CommitCopies();

  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * 16;
  const float scale = static_cast<float>(s.scale) * kLog2E;
  // With split blocks the first accumulator is that of whichever gradient the block computes.
  float dv[kDim / 8][4], dk[X::kSplit ? 1 : kDim / 8][4];
  Clear(dv);
  Clear(dk);
  for (int tile = 0; tile < num_tiles; ++tile) {
    if (tile + 1 < num_tiles) copy(tile + 1);
    CommitCopies();
    WaitCopies<1>();
    __syncthreads();
    const auto& stage = shared.stages[tile % 2];
    const auto& stage_rows = shared.rows[tile % 2];
    const int i0 = first + tile % tiles_per_head * X::kStreamed;
    // Transposed: rows are keys, columns queries, so that a warp owns its rows of dk and dv.
    float prob[X::kStreamed / 8][4], ds[X::kStreamed / 8][4];
    Clear(prob);
    MultiplyTransposed<kDim>(shared.k + warp_row * kStride<Bf16, kDim>, stage.q, prob);
    const bool all = i0 + X::kStreamed <= doc.num_q &&
                     AllSee(s, i0 + doc.offset, i0 + doc.offset + X::kStreamed - 1,
                            begin + warp_row, begin + warp_row + 15);
#pragma unroll
    for (int n = 0; n < X::kStreamed / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = n * 8 + lane % 4 * 2 + e % 2,
                  j = begin + warp_row + lane / 4 + e / 2 * 8;
        const bool visible =
            all || (i0 + column < doc.num_q && Sees(s, i0 + column + doc.offset, j));
        prob[n][e] = visible ? exp2f(prob[n][e] * scale - stage_rows.lse[column]) : 0.f;
      }
    }
    if (with_dv) Multiply<kDim>(prob, stage.d_o, dv);
    if (with_dk) {
      Clear(ds);
      MultiplyTransposed<kDim>(shared.v + warp_row * kStride<Bf16, kDim>, stage.d_o, ds);
#pragma unroll
      for (int n = 0; n < X::kStreamed / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          ds[n][e] = prob[n][e] * (ds[n][e] - stage_rows.delta[n * 8 + lane % 4 * 2 + e % 2]);
        }
      }
      if constexpr (X::kSplit) {
        Multiply<kDim>(ds, stage.q, dv);
      } else {
        Multiply<kDim>(ds, stage.q, dk);
      }
    }
    __syncthreads();  // the next iteration's copies overwrite this stage
  }

  WaitCopies<0>();  // of keys that no query sees
  const float one[2] = {1, 1};
  const float scales[2] = {static_cast<float>(s.scale), static_cast<float>(s.scale)};
  const int64_t row = key_row + static_cast<int64_t>(warp_row) * HK;
  Bf16* const dk_out = p.dk + row * D;
  Bf16* const dv_out =
      p.dv + static_cast<int64_t>(doc.k_begin + begin + warp_row) * p.dv_stride + hk * DV;
  if (with_dv) StoreRows(dv, one, dv_out, p.dv_stride, rows - warp_row, DV);
  if (with_dk) {
    if constexpr (X::kSplit) {
      StoreRows(dv, scales, dk_out, static_cast<int64_t>(HK) * D, rows - warp_row, D);
    } else {
      StoreRows(dk, scales, dk_out, static_cast<int64_t>(HK) * D, rows - warp_row, D);
    }
  }
}

// Grid: x = document * tiles of queries, y = query head.
template <int kDim>
__global__ void __launch_bounds__(kThreads)
    QueryKernel(AttentionBwdParams<Bf16> p, const float* delta, LseStrides lse_strides,
                int tiles_per_document, bool vectors) {
  using X = Traits<kDim>;
  extern __shared__ __align__(16) unsigned char memory[];
  QueryShared<kDim>& shared = *reinterpret_cast<QueryShared<kDim>*>(memory);
  const AttentionShape& s = p.shape;
  const Document doc = GetDocument(s, static_cast<int>(blockIdx.x) / tiles_per_document);
  const int begin =
      (tiles_per_document - 1 - static_cast<int>(blockIdx.x) % tiles_per_document) * X::kHeld;
  if (begin >= doc.num_q) return;
  const int rows = min(X::kHeld, doc.num_q - begin);
  const int H = static_cast<int>(s.num_heads), HK = static_cast<int>(s.num_kv_heads);
  const int D = static_cast<int>(s.key_dim), DV = static_cast<int>(s.value_dim);
  const int h = static_cast<int>(blockIdx.y), hk = h / (H / HK);
  const int64_t row0 = static_cast<int64_t>(doc.q_begin + begin) * H + h;

  const Range keys = KeysOf(s, begin + doc.offset, begin + doc.offset + rows - 1);
  const int first = keys.begin / X::kStreamed * X::kStreamed;
  const int num_tiles = CeilDiv(keys.end - first, X::kStreamed);
  const auto copy = [&](int tile) {
    const int j0 = first + tile * X::kStreamed, count = min(X::kStreamed, doc.num_k - j0);
    auto& stage = shared.stages[tile % 2];
    CopyTile<X::kStreamed, kDim, kThreads>(
        p.k + static_cast<int64_t>(doc.k_begin + j0) * s.k_stride + hk * D, s.k_stride, count, D,
        vectors, stage.k);
    CopyTile<X::kStreamed, kDim, kThreads>(
        p.v + static_cast<int64_t>(doc.k_begin + j0) * s.v_stride + hk * DV, s.v_stride, count, DV,
        vectors, stage.v);
  };
  CopyTile<X::kHeld, kDim, kThreads>(
      p.q + static_cast<int64_t>(doc.q_begin + begin) * s.q_stride + h * D, s.q_stride, rows, D,
      vectors, shared.q);
  CopyTile<X::kHeld, kDim, kThreads>(p.d_o + row0 * DV, static_cast<int64_t>(H) * DV, rows, DV,
                                     vectors, shared.d_o);
  copy(0);
  CommitCopies();

  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * 16;
  const int position = begin + warp_row + lane / 4 + doc.offset;  // of the lane's first row
  const float scale = static_cast<float>(s.scale) * kLog2E;
  float lse[2] = {0, 0}, row_delta[2] = {0, 0};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp_row + lane / 4 + half * 8;
    if (row < rows) {
      lse[half] = p.lse[static_cast<int64_t>(doc.q_begin) * H + h * lse_strides.head +
                        (begin + row) * lse_strides.token] *
                  kLog2E;
      row_delta[half] = delta[row0 + static_cast<int64_t>(row) * H];
    }
  }
  float dq[kDim / 8][4];
  Clear(dq);
  for (int tile = 0; tile < num_tiles; ++tile) {
    if (tile + 1 < num_tiles) copy(tile + 1);
    CommitCopies();
    WaitCopies<1>();
    __syncthreads();
    const auto& stage = shared.stages[tile % 2];
    const int j0 = first + tile * X::kStreamed;
    float prob[X::kStreamed / 8][4], ds[X::kStreamed / 8][4];
    Clear(prob);
    Clear(ds);
    MultiplyTransposed<kDim>(shared.q + warp_row * kStride<Bf16, kDim>, stage.k, prob);
    MultiplyTransposed<kDim>(shared.d_o + warp_row * kStride<Bf16, kDim>, stage.v, ds);
    const bool all = AllSee(s, begin + warp_row + doc.offset, begin + warp_row + doc.offset + 15,
                            j0, j0 + X::kStreamed - 1);
#pragma unroll
    for (int n = 0; n < X::kStreamed / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int j = j0 + n * 8 + lane % 4 * 2 + e % 2, half = e / 2;
        const bool visible = all || Sees(s, position + half * 8, j);
        const float x = visible ? exp2f(prob[n][e] * scale - lse[half]) : 0.f;
        ds[n][e] = x * (ds[n][e] - row_delta[half]);
      }
    }
    Multiply<kDim>(ds, stage.k, dq);
    __syncthreads();  // the next iteration's copies overwrite this stage
  }
  const float scales[2] = {static_cast<float>(s.scale), static_cast<float>(s.scale)};
  StoreRows(dq, scales, p.dq + (row0 + static_cast<int64_t>(warp_row) * H) * D,
            static_cast<int64_t>(H) * D, rows - warp_row, D);
}

template <int kDim>
void Run(const AttentionBwdParams<Bf16>& p, const float* delta, const Launch& launch) {
  using X = Traits<kDim>;
  const unsigned num_docs = static_cast<unsigned>(p.shape.num_docs);
  constexpr int kKeyBytes = sizeof(KeyShared<kDim>), kQueryBytes = sizeof(QueryShared<kDim>);
  CUDA_CHECK(cudaFuncSetAttribute(KeyKernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  kKeyBytes));
  const int key_tiles = CeilDiv(launch.max_keys, X::kHeld);
  const dim3 key_grid(num_docs * key_tiles, static_cast<unsigned>(p.shape.num_kv_heads),
                      X::kSplit ? 2 : 1);
  KeyKernel<kDim><<<key_grid, kThreads, kKeyBytes, ToStream(p.stream)>>>(p, delta, launch.lse,
                                                                         key_tiles, launch.vectors);
  CUDA_CHECK_LAUNCH();
  CUDA_CHECK(cudaFuncSetAttribute(QueryKernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  kQueryBytes));
  const int query_tiles = CeilDiv(launch.max_queries, X::kHeld);
  const dim3 query_grid(num_docs * query_tiles, static_cast<unsigned>(p.shape.num_heads));
  QueryKernel<kDim><<<query_grid, kThreads, kQueryBytes, ToStream(p.stream)>>>(
      p, delta, launch.lse, query_tiles, launch.vectors);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

void TiledBackward(const AttentionBwdParams<Bf16>& p, const float* delta, const Launch& launch) {
  switch (launch.padded_dim) {
    case 64:
      return Run<64>(p, delta, launch);
    case 128:
      return Run<128>(p, delta, launch);
    default:
      return Run<256>(p, delta, launch);
  }
}

}  // namespace wyvern::attention
