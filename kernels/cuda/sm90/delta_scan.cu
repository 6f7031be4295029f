// The serial pass forward, in the notation of delta.cuh; every matrix is held transposed:
//
//   r = v - (e^G k) S      e = A (beta r)      o = s (e^G q) S + P e
//   S+ = Diag(e^{G_C}) S + kbar^T e
#include "kernels/cuda/sm90/delta_scan.cuh"

namespace wyvern::sm90 {
namespace {

template <int kKeyBlocks, int kGroups, bool kOutputs>
__global__ void __launch_bounds__(kScanThreads<kGroups>, kGroups == 1 ? 2 : 1)
    ScanKernel(const __grid_constant__ ScanMaps maps, const __grid_constant__ ScanParams p) {
  constexpr ScanKind kKind = kOutputs ? ScanKind::kOutputs : ScanKind::kStates;
  extern __shared__ __align__(1024) unsigned char shared[];
  const ScanBlock block = EnterScan<kGroups>(p, shared);
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (group == kGroups) {
    LowerRegisters<24>();
    if (threadIdx.x % kWarpgroupThreads == 0) {
      Produce<kKeyBlocks, kGroups, kKind>(maps, p, block);
    }
  } else {
    RaiseRegisters<kScanRegisters<kGroups>>();
    const ScanLayout& layout = p.layout;
    const int value0 = (block.part * kGroups + group) * kTile;
    Bf16* const staging = block.tiles + (layout.staging + group * kKeyBlocks) * kTileElements;
    Accumulator state[kKeyBlocks];
    LoadState(state, p, block, value0);
    Ring ring{layout.stages};
    for (int c = block.begin; c < block.end; ++c, ring.Advance()) {
      const Chunk chunk = p.a.chunks[c];
      Bf16* const stage = block.Stage(layout, ring);
      Bf16* const s_value = stage + (layout.value + group) * kTileElements;
      const float* const factors = block.Small(ring);
      Fragment s[kKeyBlocks];
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) s[kb] = ToFragment(state[kb]);
      Wait(block.full[ring.place], ring.full_parity());
      if (chunk.rows < kChunk) ClearTail<kGroups>(layout, stage, chunk.rows);

      Accumulator r, o;
      ProductFence();
      Product<Major::kInner, Sum::kOverwrite>(r, s[0], stage + layout.key * kTileElements);
      if constexpr (kKeyBlocks == 2) {
        Product<Major::kInner, Sum::kAdd>(r, s[1], stage + (layout.key + 1) * kTileElements);
      }
      CommitProducts();
      if constexpr (kOutputs) {
        Product<Major::kInner, Sum::kOverwrite>(o, s[0], stage + layout.query * kTileElements);
        if constexpr (kKeyBlocks == 2) {
          Product<Major::kInner, Sum::kAdd>(o, s[1], stage + (layout.query + 1) * kTileElements);
        }
        CommitProducts();
      } else {
        const int row = static_cast<int>(
            (static_cast<int64_t>(c) * p.a.value_heads + block.hv) * p.a.value_dim + value0);
        SaveState<kKeyBlocks>(maps, s, staging, group, row);
      }
      const Fragment v = LoadFragment<true>(s_value);
      WaitProducts<kOutputs ? 1 : 0>(r);
      // r = beta (v - (e^G k) S)
      ForEachPair(r, [&](int n, int half, int, int column, float& x0, float& x1) {
        const float2 key = *reinterpret_cast<const float2*>(factors + kKeyFactor * kChunk + column);
        const float2 beta = *reinterpret_cast<const float2*>(factors + kBeta * kChunk + column);
        const uint32_t pair = v.r[n / 2][2 * (n % 2) + half];
        x0 = beta.x * (UnpackLow(pair) - key.x * x0);
        x1 = beta.y * (UnpackHigh(pair) - key.y * x1);
      });
      const Fragment beta_r = ToFragment(r);
      Accumulator e;
      ProductFence();
      Product<Major::kInner, Sum::kOverwrite>(e, beta_r, stage + layout.inverse * kTileElements);
      CommitProducts();
      if (p.has_decay) {
#pragma unroll
        for (int kb = 0; kb < kKeyBlocks; ++kb) {
          ScaleColumns(state[kb], factors + 4 * kChunk + kb * kTile);
        }
      }
      if constexpr (kOutputs) {
        WaitProducts<1>(o);
        ScaleColumns(o, factors + kQueryFactor * kChunk);
      }
      WaitProducts<0>(e);
      const Fragment e_rounded = ToFragment(e);
      const Fragment e_bar = ScaledFragment(e, factors + kBarFactor * kChunk);
      ProductFence();
      if constexpr (kOutputs) {
        Product<Major::kInner, Sum::kAdd>(o, e_rounded, stage + layout.scores * kTileElements);
        CommitProducts();
      }
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) {
        Product<Major::kOuter, Sum::kAdd>(state[kb], e_bar,
                                          stage + (layout.bar + kb) * kTileElements);
      }
      CommitProducts();
      if constexpr (kOutputs) {
        WaitProducts<1>(o);
        SaveRows(p, block, ToFragment(o), s_value, group, value0, chunk);
      } else {
        SaveRows(p, block, e_rounded, s_value, group, value0, chunk);
      }
      if constexpr (kKeyBlocks == 2) {
        WaitProducts<0>(state[0], state[1]);
      } else {
        WaitProducts<0>(state[0]);
      }
      Release(block.empty[ring.place]);
    }
    StoreState(state, p, block, value0);
    WaitStores<0>();
  }
}

template <bool kOutputs>
void Launch(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const ScanMaps& maps,
            ScanParams p, int groups, cudaStream_t stream) {
  p.first = in.h0;
  DispatchScan(args, groups, [&](auto key_blocks, auto num_groups) {
    constexpr int kKeyBlocks = decltype(key_blocks)::value, kGroups = decltype(num_groups)::value;
    delta::AllowSharedMemory(ScanKernel<kKeyBlocks, kGroups, kOutputs>, p.layout.bytes);
    ScanKernel<kKeyBlocks, kGroups, kOutputs>
        <<<ScanBlocks(args, groups), kScanThreads<kGroups>, p.layout.bytes, stream>>>(maps, p);
    CUDA_CHECK_LAUNCH();
  });
}

}  // namespace

void ScanOutputs(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, Bf16* o, float* ht,
                 cudaStream_t stream) {
  if (args.num_docs == 0) return;
  const int groups = ScanGroups(args);
  ScanParams p = MakeScanParams(args, ScanKind::kOutputs, groups);
  p.last = ht;
  p.rows_out = o;
  Launch<true>(args, in, MakeScanMaps(args, in, in.v), p, groups, stream);
}

void ScanStates(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  if (args.num_chunks == 0) return;
  const int groups = ScanGroups(args);
  ScanParams p = MakeScanParams(args, ScanKind::kStates, groups);
  p.rows_out = args.e;
  ScanMaps maps = MakeScanMaps(args, in, in.v);
  maps.states = MakeMatrixMap(args.states, args.chunk_heads() * args.value_dim, args.key_dim);
  Launch<false>(args, in, maps, p, groups, stream);
}

}  // namespace wyvern::sm90
