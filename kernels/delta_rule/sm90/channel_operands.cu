// The operands of a decay per channel once more, r e^G q, r e^G k and r e^{G_C - G} k, for a
// backward whose forward kept the rest. A warpgroup for every 64 channels of a chunk and value
// head, its warps 16 rows each. Per token and value head it reads 6 K bytes and writes as many.
#include "kernels/delta_rule/sm90/wy_channels.cuh"

namespace wyvern::sm90 {
namespace {

struct ChannelOperandsShared {
  Bf16 gate[kTileElements], k[kTileElements], q[kTileElements];  // the operand takes its place
  float total[kWyWarps][kTile];  // L of each warp's last row, per channel
  float base[kWyWarps][kTile], rest[kWyWarps][kTile];
  float bias[kTile];
  Barrier loaded;
};

template <DeltaGate kForm>
__global__ void __launch_bounds__(kWarpgroupThreads, 6)
    ChannelOperandsKernel(Args a, GatedDeltaRuleInputs<Bf16> in,
                          const __grid_constant__ TensorMap q_map,
                          const __grid_constant__ TensorMap k_map,
                          const __grid_constant__ TensorMap gate_map) {
  extern __shared__ __align__(1024) unsigned char shared[];
  ChannelOperandsShared& s = *reinterpret_cast<ChannelOperandsShared*>(shared);
  const int tid = static_cast<int>(threadIdx.x), warp = WarpOfGroup(), lane = LaneId();
  const int key_blocks = a.key_blocks(), kb = static_cast<int>(blockIdx.x) % key_blocks;
  const int64_t chunk_head = static_cast<int>(blockIdx.x) / key_blocks;
  const int hv = static_cast<int>(chunk_head % a.value_heads);
  const Chunk chunk = a.chunks[chunk_head / a.value_heads];
  if (tid == 0) {
    Init(s.loaded, 1);
    FenceBarrierInit();
    ArriveExpecting(s.loaded, 3 * kTileBytes);
    CopyTokens(s.gate, gate_map, kb * kTile, hv, chunk.first, s.loaded);
    CopyTokens(s.k, k_map, kb * kTile, hv / a.group, chunk.first, s.loaded);
    CopyTokens(s.q, q_map, kb * kTile, hv / a.group, chunk.first, s.loaded);
  }
  if (tid < kTile) {
    s.bias[tid] = in.dt_bias == nullptr ? 0.f : in.dt_bias[hv * a.key_dim + kb * kTile + tid];
  }
  const GateRate gate = GateRateOf(in, hv);
  float query_norm[2], key_norm[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float* const rows =
        a.rows + chunk_head * kNumRowFactors * kChunk + 16 * warp + lane / 4 + 8 * h;
    query_norm[h] = rows[kQueryNorm * kChunk];
    key_norm[h] = rows[kKeyNorm * kChunk];
  }
  uint32_t ones[4];
  MakeTriangle<false>(ones, lane);
  __syncthreads();
  Wait(s.loaded, 0);

  float sums[kWySteps][2][4];
#pragma unroll
  for (int step = 0; step < kWySteps; ++step) {
    RunningSums<kForm>(sums[step], BlockAt(s.gate, LaneElement(lane), warp, step),
                       s.bias + 16 * step, gate, chunk.rows - 16 * warp, ones, lane);
    StoreTotals(s.total[warp] + 16 * step, sums[step]);
  }
  __syncthreads();
#pragma unroll
  for (int d = lane; d < kTile; d += kWarpSize) {
    float base = 0.f, rest = 0.f;
#pragma unroll
    for (int w = 0; w < kWyWarps; ++w) {
      base += w < warp ? s.total[w][d] : 0.f;
      rest += w > warp ? s.total[w][d] : 0.f;
    }
    s.base[warp][d] = Exp2(base);
    s.rest[warp][d] = Exp2(rest);
  }
  __syncwarp();

#pragma unroll
  for (int step = 0; step < kWySteps; ++step) {
    const int element = (LaneElement(lane) ^ step << 4) + warp * kRowBlock;
    uint32_t raw[4], bar[4];
    float q[4][2], k[4][2];
    LoadMatrices<false>(raw, s.k + element);
    Unpack(k, raw, key_norm);
    LoadMatrices<false>(raw, s.q + element);
    Unpack(q, raw, query_norm);
    uint32_t q_rows[4], k_rows[4];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int channel = 16 * step + 8 * n + 2 * (lane % 4);
      const float2 base = *reinterpret_cast<const float2*>(&s.base[warp][channel]);
      const float2 rest = *reinterpret_cast<const float2*>(&s.rest[warp][channel]);
      const Anchors anchors = AnchorsOf(sums[step][n], lane);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int i = 2 * n + h;
        const float l0 = sums[step][n][2 * h], l1 = sums[step][n][2 * h + 1];
        const float e0 = Exp2(l0), e1 = Exp2(l1);
        q_rows[i] = Pack(q[i][0] * e0 * base.x, q[i][1] * e1 * base.y);
        k_rows[i] = Pack(k[i][0] * e0 * base.x, k[i][1] * e1 * base.y);
        bar[i] = Pack(k[i][0] * Exp2(anchors.last[0] - l0) * rest.x,
                      k[i][1] * Exp2(anchors.last[1] - l1) * rest.y);
      }
    }
    StoreMatrices<false>(s.q + element, q_rows);
    StoreMatrices<false>(s.k + element, k_rows);
    StoreMatrices<false>(s.gate + element, bar);
  }
  const int64_t ld = static_cast<int64_t>(a.value_heads) * a.key_dim;
  const int64_t out = chunk.first * ld + hv * a.key_dim + kb * kTile;
  StoreRows(a.q_operand + out, ld, s.q, chunk.rows);
  StoreRows(a.k_operand + out, ld, s.k, chunk.rows);
  StoreRows(a.k_bar + out, ld, s.gate, chunk.rows);
}

template <DeltaGate kForm>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  const auto kernel = ChannelOperandsKernel<kForm>;
  delta::AllowSharedMemory(kernel, sizeof(ChannelOperandsShared));
  const auto map = [&](const Bf16* x, int64_t heads) {
    return MakeTokenMap(x, a.num_tokens, heads, a.key_dim, heads * a.key_dim);
  };
  kernel<<<static_cast<unsigned>(a.chunk_heads() * a.key_blocks()), kWarpgroupThreads,
           sizeof(ChannelOperandsShared), stream>>>(a, in, map(in.q, a.heads), map(in.k, a.heads),
                                                    map(in.gate, a.value_heads));
  CUDA_CHECK_LAUNCH();
}

}  // namespace

void ChannelOperands(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  if (a.chunk_heads() == 0) return;
  switch (in.gate_form) {
    case DeltaGate::kLogDecay:
      return Launch<DeltaGate::kLogDecay>(a, in, stream);
    case DeltaGate::kSoftplus:
      return Launch<DeltaGate::kSoftplus>(a, in, stream);
    case DeltaGate::kBounded:
      return Launch<DeltaGate::kBounded>(a, in, stream);
  }
}

}  // namespace wyvern::sm90
