// The backward of the inter-chunk scan, in the notation of passes.cuh; every matrix is held
// transposed. With
// dS+ the gradient of the state that leaves the chunk:
//
//   de = P^T dO + kbar dS+      y = A^T de      dv = beta y
//   dS = Diag(e^{G_C}) dS+ + s (e^G q)^T dO - (e^G k)^T dv
#include "kernels/delta_rule/sm90/state_scan.cuh"

namespace wyvern::sm90 {
namespace {

// kSave: writes dv and the dS+ that leaves each chunk; otherwise only p.ends.
template <int kKeyBlocks, int kGroups, bool kSave>
__global__ void __launch_bounds__(kScanThreads<kGroups>, kGroups == 1 ? 2 : 1)
    StateScanBackwardKernel(const __grid_constant__ ScanMaps maps,
                            const __grid_constant__ ScanParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const ScanBlock block =
      EnterScan<kGroups, ScanKind::kBackward>(p, p.a.value_dim / (kTile * kGroups), shared);
  // The saving pass computes what leaves a document at its start.
  if (!kSave && block.ends_doc) return;
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (group == kGroups) {
    LowerRegisters<kScanProducerRegisters>();
    if (threadIdx.x % kWarpgroupThreads == 0) {
      Produce<kKeyBlocks, kGroups, ScanKind::kBackward>(maps, p, block);
    }
  } else {
    RaiseRegisters<kScanRegisters<kGroups>>();
    const ScanLayout& layout = p.layout;
    const int value0 = (block.part * kGroups + group) * kTile;
    Bf16* const staging = block.tiles + (layout.staging + group * kKeyBlocks) * kTileElements;
    Accumulator d_state[kKeyBlocks];
    LoadState(d_state, p, block, value0);
    Ring ring{layout.stages};
    for (int c = block.end - 1; c >= block.begin; --c, ring.Advance()) {
      const Chunk chunk = p.a.chunks[c];
      Bf16* const stage = block.Stage(layout, ring);
      Bf16* const s_value = stage + (layout.value + group) * kTileElements;
      const float* const factors = block.Small(ring);
      Fragment ds[kKeyBlocks];
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) ds[kb] = ToFragment(d_state[kb]);
      Wait(block.full[ring.place], ring.full_parity());
      if (chunk.rows < kChunk) ClearTail<kGroups>(layout, stage, chunk.rows);

      // kbar dS+ and P^T dO, then half of (e^G q)^T dO while they are joined.
      const Fragment d_o = LoadFragment<true>(s_value);
      Accumulator de, de_scores;
      ProductFence();
      Product<Major::kInner, Sum::kOverwrite>(de, ds[0], stage + layout.bar * kTileElements);
      if constexpr (kKeyBlocks == 2) {
        Product<Major::kInner, Sum::kAdd>(de, ds[1], stage + (layout.bar + 1) * kTileElements);
      }
      Product<Major::kOuter, Sum::kOverwrite>(de_scores, d_o,
                                              stage + layout.scores * kTileElements);
      CommitProducts();
      if constexpr (kSave) {
        SaveState<kKeyBlocks>(maps, ds, staging, group, StateRow(p, block, c, value0));
      }
      if (p.has_decay) {
#pragma unroll
        for (int kb = 0; kb < kKeyBlocks; ++kb) {
          ScaleColumns(d_state[kb], LoadFactors(factors + 4 * kChunk + kb * kTile));
        }
      }
      const Fragment d_o_scaled = ScaledFragment(d_o, LoadFactors(factors + kQueryFactor * kChunk));
      ProductFence();
      Product<Major::kOuter, Sum::kAdd>(d_state[0], d_o_scaled,
                                        stage + layout.query * kTileElements);
      CommitProducts();
      const ColumnFactors bar = LoadFactors(factors + kBarFactor * kChunk);
      WaitProducts<1>(de, de_scores);
      ScaleColumns(de, bar);
#pragma unroll
      for (int n = 0; n < 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) de.c[n][e] += de_scores.c[n][e];
      }
      // y = A^T de, where the identity's part of A does not see the rounding of de.
      const Fragment de_rounded = ToFragment(de);
      ForEachPair(de_rounded, [&](int n, int half, int, int, float x0, float x1) {
        de.c[n][2 * half] -= x0;
        de.c[n][2 * half + 1] -= x1;
      });
      ProductFence();
      Product<Major::kOuter, Sum::kAdd>(de, de_rounded, stage + layout.ut * kTileElements);
      CommitProducts();
      if constexpr (kKeyBlocks == 2) {
        Product<Major::kOuter, Sum::kAdd>(d_state[1], d_o_scaled,
                                          stage + (layout.query + 1) * kTileElements);
      }
      CommitProducts();
      const ColumnFactors beta = LoadFactors(factors + kBeta * kChunk);
      ColumnFactors key = LoadFactors(factors + kKeyFactor * kChunk);
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        key.f[n].x *= -beta.f[n].x;
        key.f[n].y *= -beta.f[n].y;
      }
      WaitProducts<1>(de);
      const Accumulator& y = de;
      const Fragment dv_scaled = ScaledFragment(y, key);
      ProductFence();
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) {
        Product<Major::kOuter, Sum::kAdd>(d_state[kb], dv_scaled,
                                          stage + (layout.key + kb) * kTileElements);
      }
      CommitProducts();
      if constexpr (kSave) {
        SaveRows(p, block, ScaledFragment(y, beta), s_value, group, value0, chunk);
      }
      if constexpr (kKeyBlocks == 2) {
        WaitProducts<0>(d_state[0], d_state[1]);
      } else {
        WaitProducts<0>(d_state[0]);
      }
      Release(block.empty[ring.place]);
    }
    StoreEnds(d_state, p, block, value0);
    if constexpr (kSave) WaitStores<0>();
  }
}

template <bool kSave>
void Launch(const Args& args, const ScanMaps& maps, const ScanParams& p, int groups,
            cudaStream_t stream) {
  DispatchScan(args, groups, [&](auto key_blocks, auto num_groups) {
    constexpr int kKeyBlocks = decltype(key_blocks)::value, kGroups = decltype(num_groups)::value;
    if constexpr (kSave || kGroups == 1) {
      delta::AllowSharedMemory(StateScanBackwardKernel<kKeyBlocks, kGroups, kSave>, p.layout.bytes);
      StateScanBackwardKernel<kKeyBlocks, kGroups, kSave>
          <<<ScanBlocks(args, groups), kScanThreads<kGroups>, p.layout.bytes, stream>>>(maps, p);
      CUDA_CHECK_LAUNCH();
    }
  });
}

}  // namespace

void StateScanBackward(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                       const float* d_ht, float* d_h0, cudaStream_t stream) {
  if (args.num_docs == 0) return;
  const int groups = args.scan_groups;
  ScanParams p = MakeScanParams(args, ScanKind::kBackward, groups);
  p.first = args.segments == nullptr ? d_ht : args.segment_d_states;
  p.last = d_h0;
  p.rows_out = args.dv;
  ScanMaps maps = MakeScanMaps(args, in, d_o);
  maps.states = MakeMatrixMap(args.d_states, args.chunk_heads() * args.value_dim, args.key_dim);
  Launch<true>(args, maps, p, groups, stream);
}

void SegmentScanBackward(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                         float* ends, cudaStream_t stream) {
  ScanParams p = MakeScanParams(args, ScanKind::kBackward, /*groups=*/1);
  p.ends = ends;
  Launch<false>(args, MakeScanMaps(args, in, d_o), p, /*groups=*/1, stream);
}

}  // namespace wyvern::sm90
