// The part of a chunk that needs no state: its operands qe and kbar, its decay and P. One block of
// threads per chunk and value head.
#include "kernels/linear_attention/cuda/gated_linear_attention.cuh"

namespace wyvern::linear_attention {
namespace {

constexpr int kPairs = kBlock * (kBlock + 1) / 2;  // i >= j of one block of rows
constexpr int kPairWords = (kPairs + kWarpSize - 1) / kWarpSize;

// Pairs are counted column by column: (0, 0), (1, 0) ..
__device__ __forceinline__ int PairIndex(int i, int j) {
  return j * kBlock - j * (j - 1) / 2 + i - j;
}

// Sums 32 values over the warp; lane l receives the sum of x[l]. The first 2 kOffset are left.
template <int kOffset = kWarpSize / 2>
__device__ __forceinline__ float ReduceScatter(float (&x)[kWarpSize]) {
  const bool upper = LaneId() & kOffset;
#pragma unroll
  for (int i = 0; i < kOffset; ++i) {
    const float keep = upper ? x[i + kOffset] : x[i];
    const float send = upper ? x[i] : x[i + kOffset];
    x[i] = keep + __shfl_xor_sync(0xffffffffu, send, kOffset);
  }
  if constexpr (kOffset == 1) {
    return x[0];
  } else {
    return ReduceScatter<kOffset / 2>(x);
  }
}

// sums += q_i k_j exp(G_i - G_j) over the warp's channels, of the block's pairs; lane l has pairs
// l, l + 32 ..
__device__ __forceinline__ void AddPairs(const BlockRows& x, float (&sums)[kPairWords]) {
  float batch[kWarpSize];
#pragma unroll
  for (int j = 0; j < kBlock; ++j) {
    float k = x.k[j];
#pragma unroll
    for (int i = j; i < kBlock; ++i) {
      if (i > j) k *= x.a[i];
      const int pair = PairIndex(i, j);
      batch[pair % kWarpSize] = x.q[i] * k;
      if (pair % kWarpSize == kWarpSize - 1) sums[pair / kWarpSize] += ReduceScatter(batch);
    }
  }
#pragma unroll
  for (int i = kPairs % kWarpSize; i < kWarpSize; ++i) batch[i] = 0.f;
  sums[kPairWords - 1] += ReduceScatter(batch);
}
static_assert(kPairs % kWarpSize != 0, "the last batch is a part of one");

template <typename T>
constexpr size_t IntraSharedBytes() {
  return 7 * kTileBytes<T>;
}

template <typename T>
__global__ void __launch_bounds__(kTileThreads, 2) IntraKernel(Args<T> args, Gate gate) {
  extern __shared__ __align__(16) unsigned char shared[];
  // q, k and decays of 64 channels, two stages; the slots of q and k take the place of the first
  // two.
  using Stage = T[3][kTileSize<T>];
  Stage* const s_rows = reinterpret_cast<Stage*>(shared);
  T* const s_p = reinterpret_cast<T*>(s_rows + 2);
  __shared__ float s_decays[kBlocks][kTile];
  __shared__ float s_pairs[2 * kBlocks][kPairWords * kWarpSize];  // of each warp

  const int hv = static_cast<int>(blockIdx.x % args.value_heads);
  const int slot = static_cast<int>(blockIdx.x / args.value_heads);
  const Piece chunk = PieceOfSlot(args.in.cu_seqlens, args.num_docs, kChunk, slot);
  if (chunk.rows == 0) return;
  const int column = static_cast<int>(threadIdx.x) % kTile;
  const int block = static_cast<int>(threadIdx.x) / kTile;
  const int rows = chunk.rows - block * kBlock;  // of this thread's block, or fewer than none
  const int Kp = args.key_pad;
  const int64_t chunk_head = static_cast<int64_t>(slot) * args.value_heads + hv;
  const float scale = static_cast<float>(args.in.scale);

  TileAcc between;  // P of different blocks, by slots
  Clear(between);
  float pairs[kPairWords] = {};
  CopyRows(s_rows[0], args, chunk, hv, 0);
  CommitCopies();
  for (int kb = 0; kb < Kp / kTile; ++kb) {
    const int channel = kb * kTile + column;
    T(*const rows_of)[kTileSize<T>] = s_rows[kb % 2];
    WaitCopies<0>();
    __syncthreads();
    if (kb + 1 < Kp / kTile) {
      CopyRows(s_rows[(kb + 1) % 2], args, chunk, hv, channel - column + kTile);
      CommitCopies();
    }
    const BlockRows x =
        RowsOf<T>(rows_of, args, gate, chunk, hv, block, column, channel < args.key_dim ? rows : 0);
    float own = 1.f;
#pragma unroll
    for (int r = 0; r < kBlock; ++r) own *= x.a[r];
    s_decays[block][column] = own;
    __syncthreads();
    const BlockDecays d = DecaysAround(s_decays, block, column);
    StoreSlots(rows_of[0], rows_of[1], x, d, block, column);
    if (block == 0) args.chunk_decay[chunk_head * Kp + channel] = d.all;

    const int64_t ld = static_cast<int64_t>(args.value_heads) * Kp;
    const int64_t first =
        (chunk.first + block * kBlock) * ld + static_cast<int64_t>(hv) * Kp + channel;
    float decay = scale * d.before;
#pragma unroll
    for (int r = 0; r < kBlock; ++r) {
      decay *= x.a[r];
      if (r < rows) args.q_operand[first + r * ld] = FromFloatDevice<T>(x.q[r] * decay);
    }
    decay = d.after;
#pragma unroll
    for (int r = kBlock - 1; r >= 0; --r) {
      if (r < rows) args.k_operand[first + r * ld] = FromFloatDevice<T>(x.k[r] * decay);
      decay *= x.a[r];
    }
    if (rows > 0) AddPairs(x, pairs);
    __syncthreads();
    TileMma<false, true>(between, rows_of[0], rows_of[1]);
  }

#pragma unroll
  for (int w = 0; w < kPairWords; ++w) s_pairs[WarpId()][w * kWarpSize + LaneId()] = pairs[w];
  __syncthreads();
  for (int n = static_cast<int>(threadIdx.x); n < kChunk * kChunk / 2; n += kTileThreads) {
    const int i = n / (kChunk / 2), j0 = n % (kChunk / 2) * 2, b = i / kBlock;
    float p[2] = {0.f, 0.f};
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      if (j0 / kBlock != b || j0 + c > i) continue;
      const int pair = PairIndex(i % kBlock, (j0 + c) % kBlock);
      p[c] = scale * (s_pairs[2 * b][pair] + s_pairs[2 * b + 1][pair]);
    }
    *reinterpret_cast<Vec<T, 2>*>(s_p + i * kTileLd<T> + j0) = {FromFloatDevice<T>(p[0]),
                                                                FromFloatDevice<T>(p[1])};
  }
  __syncthreads();
  ForEachPair(between, [&](int row, int col, float x, float y) {
    const BlockPair at = PairOfSlots(row / kBlock, col / kBlock);
    if (at.i < 0) return;
    T* to = s_p + (at.i * kBlock + row % kBlock) * kTileLd<T> + at.j * kBlock + col % kBlock;
    *reinterpret_cast<Vec<T, 2>*>(to) = {FromFloatDevice<T>(scale * x),
                                         FromFloatDevice<T>(scale * y)};
  });
  __syncthreads();
  StoreTile(args.p + chunk_head * kChunk * kChunk, s_p, kChunk, kChunk, kChunk, true);
}

}  // namespace

template <typename T>
void Intra(const Args<T>& args, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>(args.chunk_slots) * args.value_heads;
  if (blocks == 0) return;
  AllowSharedMemory(IntraKernel<T>, IntraSharedBytes<T>());
  IntraKernel<T><<<blocks, kTileThreads, IntraSharedBytes<T>(), stream>>>(args, GateOf(args.in));
  CUDA_CHECK_LAUNCH();
}

template void Intra(const Args<float>&, cudaStream_t);
template void Intra(const Args<Bf16>&, cudaStream_t);

}  // namespace wyvern::linear_attention
