// o = s (e^G q) S + P e: one block per chunk, value head and 64 value columns.
#include "kernels/delta_rule/cuda/passes.cuh"

namespace wyvern::delta {
namespace {

template <typename T>
__global__ void __launch_bounds__(kTileThreads) OutputKernel(Args<T> a, T* o, bool o_vectors) {
  extern __shared__ __align__(16) unsigned char shared[];
  T* const s_q = reinterpret_cast<T*>(shared);
  T* const s_state = s_q + kTileSize<T>;
  T* const s_p = s_state + kTileSize<T>;
  T* const s_e = s_p + kTileSize<T>;
  const int vt = static_cast<int>(blockIdx.x % a.value_blocks);
  const int64_t chunk_head = blockIdx.x / a.value_blocks;
  const int hv = static_cast<int>(chunk_head % a.value_heads);
  const Chunk chunk = a.chunks[chunk_head / a.value_heads];
  const int Kp = a.key_pad(), Vp = a.value_pad();
  const int64_t token_head = static_cast<int64_t>(chunk.first) * a.value_heads + hv;
  const int64_t operand_ld = static_cast<int64_t>(a.operand_heads) * Kp;
  const T* q = a.state_q + chunk.first * operand_ld +
               static_cast<int64_t>(hv / (a.value_heads / a.operand_heads)) * Kp;

  LoadTile(s_p, a.p + chunk_head * kChunk * kChunk, kChunk, kChunk, kTile, true);
  LoadTile(s_e, a.e + token_head * Vp + vt * kTile, static_cast<int64_t>(a.value_heads) * Vp,
           chunk.rows, kTile, true);
  TileAcc acc;
  Clear(acc);
  for (int kb = 0; kb < a.key_blocks; ++kb) {
    LoadTile(s_q, q + kb * kTile, operand_ld, chunk.rows, kTile, true);
    LoadTile(s_state, a.states + (chunk_head * Kp + kb * kTile) * Vp + vt * kTile, Vp, kTile, kTile,
             true);
    CommitCopies();
    WaitCopies<0>();
    __syncthreads();
    TileMma<false, false>(acc, s_q, s_state);
    __syncthreads();
  }
  const int row0 = 16 * (WarpId() % 4) + LaneId() / 4;
  const float scale[2] = {a.scale * RowScalesOf(a, chunk, hv, row0).q,
                          a.scale * RowScalesOf(a, chunk, hv, row0 + 8).q};
  ForEachPairIndexed(acc, [&](int, int, int half, int, float& x, float& y) {
    x *= scale[half];
    y *= scale[half];
  });
  TileMma<false, false>(acc, s_p, s_e);
  StoreAcc(s_q, acc);
  __syncthreads();
  StoreTile(o + token_head * a.value_dim + vt * kTile, s_q,
            static_cast<int64_t>(a.value_heads) * a.value_dim, chunk.rows,
            min(kTile, a.value_dim - vt * kTile), o_vectors);
}

}  // namespace

template <typename T>
void Output(const Args<T>& a, T* o, cudaStream_t stream) {
  if (a.num_chunks == 0) return;
  constexpr size_t kBytes = 4 * kTileBytes<T>;
  AllowSharedMemory(OutputKernel<T>, kBytes);
  const unsigned blocks =
      static_cast<unsigned>(static_cast<int64_t>(a.num_chunks) * a.value_heads * a.value_blocks);
  OutputKernel<T><<<blocks, kTileThreads, kBytes, stream>>>(a, o, MovesInVectors(o, a.value_dim));
  CUDA_CHECK_LAUNCH();
}

template void Output(const Args<float>&, float*, cudaStream_t);
template void Output(const Args<Bf16>&, Bf16*, cudaStream_t);

}  // namespace wyvern::delta
