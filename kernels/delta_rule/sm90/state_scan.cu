// The inter-chunk scan, in the notation of passes.cuh; every matrix is held transposed:
//
//   r = v - (e^G k) S      e = A (beta r)      o = s (e^G q) S + P e
//   S+ = Diag(e^{G_C}) S + kbar^T e
#include "kernels/delta_rule/sm90/state_scan.cuh"

namespace wyvern::sm90 {
namespace {

constexpr int kSharedBytes = 227 * 1024;       // of one block
constexpr int kSharedBytesPerSm = 228 * 1024;  // of which each resident block takes 1 KB more
constexpr int kMaxStages = 4;

// x = beta (v - (e^G k) S), given r = k S: returned rounded, with what the rounding lost left in r.
// Then e = A x is r + A rn(x), where the identity's part of A does not see the rounding.
__device__ __forceinline__ Fragment BetaResidual(Accumulator& r, const Fragment& v,
                                                 const ColumnFactors& key,
                                                 const ColumnFactors& beta) {
  Fragment f;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t pair = v.r[n / 2][2 * (n % 2) + half];
      float& x0 = r.c[n][2 * half];
      float& x1 = r.c[n][2 * half + 1];
      x0 = beta.f[n].x * (UnpackLow(pair) - key.f[n].x * x0);
      x1 = beta.f[n].y * (UnpackHigh(pair) - key.f[n].y * x1);
      const uint32_t rounded = Pack(x0, x1);
      x0 -= UnpackLow(rounded);
      x1 -= UnpackHigh(rounded);
      f.r[n / 2][2 * (n % 2) + half] = rounded;
    }
  }
  return f;
}

// The products of o = s (e^G q) S + P e are issued where the chain of the state's products waits
// for element-wise work, and a chunk's o leaves while the next chunk's first product runs.
template <int kKeyBlocks, int kGroups>
__global__ void __launch_bounds__(kScanThreads<kGroups>, kGroups == 1 ? 2 : 1)
    OutputScanKernel(const __grid_constant__ ScanMaps maps, const __grid_constant__ ScanParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const ScanBlock block =
      EnterScan<kGroups, ScanKind::kOutput>(p, p.a.value_dim / (kTile * kGroups), shared);
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (group == kGroups) {
    LowerRegisters<kScanProducerRegisters>();
    if (threadIdx.x % kWarpgroupThreads == 0) {
      Produce<kKeyBlocks, kGroups, ScanKind::kOutput>(maps, p, block);
    }
  } else {
    RaiseRegisters<kScanRegisters<kGroups>>();
    const ScanLayout& layout = p.layout;
    const int value0 = (block.part * kGroups + group) * kTile;
    Bf16* const staging = block.tiles + (layout.staging + group) * kTileElements;
    Accumulator state[kKeyBlocks], o;
    LoadState(state, p, block, value0);
    Chunk previous{};
    Ring ring{layout.stages}, done{layout.stages};  // done: the chunk whose o is under way
    const auto save_o = [&] {
      const Fragment rounded = ToFragment(o);
      Release(block.empty[done.place]);
      done.Advance();
      Sync(kScanGroup + group, kWarpgroupThreads);  // the rows before have left the staging tile
      SaveRows(p, block, rounded, staging, group, value0, previous);
    };
    for (int c = block.begin; c < block.end; ++c, ring.Advance()) {
      const Chunk chunk = p.a.chunks[c];
      Bf16* const stage = block.Stage(layout, ring);
      const float* const factors = block.Small(ring);
      Fragment s[kKeyBlocks];
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) s[kb] = ToFragment(state[kb]);
      Wait(block.full[ring.place], ring.full_parity());
      if (chunk.rows < kChunk) ClearTail<kGroups>(layout, stage, chunk.rows);

      Accumulator e;  // k S at first
      ProductFence();
      Product<Major::kInner, Sum::kOverwrite>(e, s[0], stage + layout.key * kTileElements);
      if constexpr (kKeyBlocks == 2) {
        Product<Major::kInner, Sum::kAdd>(e, s[1], stage + (layout.key + 1) * kTileElements);
      }
      CommitProducts();
      if (c > block.begin) {
        WaitProducts<1>(o);
        save_o();
      }
      ProductFence();
      Product<Major::kInner, Sum::kOverwrite>(o, s[0], stage + layout.query * kTileElements);
      CommitProducts();
      const Fragment v = LoadFragment<true>(stage + (layout.value + group) * kTileElements);
      const ColumnFactors key = LoadFactors(factors + kKeyFactor * kChunk);
      const ColumnFactors beta = LoadFactors(factors + kBeta * kChunk);
      WaitProducts<1>(e);
      const Fragment beta_r = BetaResidual(e, v, key, beta);
      ProductFence();
      Product<Major::kInner, Sum::kAdd>(e, beta_r, stage + layout.ut * kTileElements);
      CommitProducts();
      if constexpr (kKeyBlocks == 2) {
        Product<Major::kInner, Sum::kAdd>(o, s[1], stage + (layout.query + 1) * kTileElements);
      }
      CommitProducts();
      const ColumnFactors bar = LoadFactors(factors + kBarFactor * kChunk);
      if (p.has_decay) {
#pragma unroll
        for (int kb = 0; kb < kKeyBlocks; ++kb) {
          ScaleColumns(state[kb], LoadFactors(factors + 4 * kChunk + kb * kTile));
        }
      }
      WaitProducts<1>(e);
      const Fragment e_bar = ScaledFragment(e, bar);
      ProductFence();
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) {
        Product<Major::kOuter, Sum::kAdd>(state[kb], e_bar,
                                          stage + (layout.bar + kb) * kTileElements);
      }
      CommitProducts();
      const Fragment e_rounded = ToFragment(e);
      const ColumnFactors query = LoadFactors(factors + kQueryFactor * kChunk);
      WaitProducts<1>(o);
      ScaleColumns(o, query);
      ProductFence();
      Product<Major::kInner, Sum::kAdd>(o, e_rounded, stage + layout.scores * kTileElements);
      CommitProducts();
      if constexpr (kKeyBlocks == 2) {
        WaitProducts<1>(state[0], state[1]);
      } else {
        WaitProducts<1>(state[0]);
      }
      previous = chunk;
    }
    WaitProducts<0>(o);
    if (block.begin < block.end) save_o();
    StoreEnds(state, p, block, value0);
  }
}

// kSave: writes e and the S that enters each chunk. Otherwise only what each segment leaves: E in
// p.ends, and Phi, the scan of the identity without v, in args.transitions by the blocks whose part
// lies beyond the value columns.
template <int kKeyBlocks, int kGroups, bool kSave>
__global__ void __launch_bounds__(kScanThreads<kGroups>, kGroups == 1 ? 2 : 1)
    StateScanKernel(const __grid_constant__ ScanMaps maps, const __grid_constant__ ScanParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const int value_parts = p.a.value_dim / (kTile * kGroups);
  const ScanBlock block = EnterScan<kGroups, ScanKind::kState>(
      p, kSave ? value_parts : value_parts + kKeyBlocks, shared);
  const bool identity = !kSave && block.part >= value_parts;
  if (!kSave && !identity && block.ends_doc) return;  // no segment follows that would read E
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (group == kGroups) {
    LowerRegisters<kScanProducerRegisters>();
    if (threadIdx.x % kWarpgroupThreads == 0) {
      Produce<kKeyBlocks, kGroups, ScanKind::kState>(maps, p, block);
    }
  } else {
    RaiseRegisters<kScanRegisters<kGroups>>();
    const ScanLayout& layout = p.layout;
    const int value0 = (block.part * kGroups + group) * kTile;
    Bf16* const staging = block.tiles + (layout.staging + group * kKeyBlocks) * kTileElements;
    Accumulator state[kKeyBlocks];
    LoadState(state, p, block, value0);
    const int identity0 = (block.part - value_parts) * kTile;
    if (identity) {
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) {
        ForEachPair(state[kb], [&](int, int, int row, int column, float& x0, float& x1) {
          x0 = identity0 + row == kb * kTile + column ? 1.f : 0.f;
          x1 = identity0 + row == kb * kTile + column + 1 ? 1.f : 0.f;
        });
      }
    }
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

      Accumulator e;  // k S at first
      ProductFence();
      Product<Major::kInner, Sum::kOverwrite>(e, s[0], stage + layout.key * kTileElements);
      if constexpr (kKeyBlocks == 2) {
        Product<Major::kInner, Sum::kAdd>(e, s[1], stage + (layout.key + 1) * kTileElements);
      }
      CommitProducts();
      if constexpr (kSave) {
        SaveState<kKeyBlocks>(maps, s, staging, group, StateRow(p, block, c, value0));
      }
      Fragment v{};
      if (!identity) v = LoadFragment<true>(s_value);
      const ColumnFactors key = LoadFactors(factors + kKeyFactor * kChunk);
      const ColumnFactors beta = LoadFactors(factors + kBeta * kChunk);
      WaitProducts<0>(e);
      const Fragment beta_r = BetaResidual(e, v, key, beta);
      ProductFence();
      Product<Major::kInner, Sum::kAdd>(e, beta_r, stage + layout.ut * kTileElements);
      CommitProducts();
      const ColumnFactors bar = LoadFactors(factors + kBarFactor * kChunk);
      if (p.has_decay) {
#pragma unroll
        for (int kb = 0; kb < kKeyBlocks; ++kb) {
          ScaleColumns(state[kb], LoadFactors(factors + 4 * kChunk + kb * kTile));
        }
      }
      WaitProducts<0>(e);
      const Fragment e_bar = ScaledFragment(e, bar);
      ProductFence();
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) {
        Product<Major::kOuter, Sum::kAdd>(state[kb], e_bar,
                                          stage + (layout.bar + kb) * kTileElements);
      }
      CommitProducts();
      if constexpr (kSave) SaveRows(p, block, ToFragment(e), s_value, group, value0, chunk);
      if constexpr (kKeyBlocks == 2) {
        WaitProducts<0>(state[0], state[1]);
      } else {
        WaitProducts<0>(state[0]);
      }
      Release(block.empty[ring.place]);
    }
    if constexpr (kSave) {
      WaitStores<0>();
    } else if (identity) {
      StoreState(state, p, p.a.transitions,
                 static_cast<int64_t>(block.scan) * p.a.value_heads + block.hv, p.a.key_dim,
                 identity0);
    } else {
      StoreEnds(state, p, block, value0);
    }
  }
}

}  // namespace

// ---- Geometry of the scans ----

ScanLayout MakeScanLayout(const Args& args, ScanKind kind, int groups) {
  ScanLayout layout;
  const int key_blocks = args.key_blocks();
  const auto take = [&](int count) {
    const int index = layout.tiles;
    layout.tiles += count;
    return index;
  };
  layout.key = take(key_blocks);
  layout.bar = args.decay == DeltaDecay::kPerChannel ? take(key_blocks) : layout.key;
  if (kind != ScanKind::kState) layout.query = take(key_blocks);
  layout.value = take(groups);
  layout.ut = take(1);
  if (kind != ScanKind::kState) layout.scores = take(1);
  const int staging = groups * (kind == ScanKind::kOutput ? 1 : key_blocks);
  const auto bytes = [&](int stages) {
    return (stages * layout.tiles + staging) * kTileBytes +
           stages * (kSmallFloats * static_cast<int>(sizeof(float)) +
                     2 * static_cast<int>(sizeof(Barrier)));
  };
  const bool shares_sm = groups == 1 &&
                         ScanBlocks(args, groups) > static_cast<unsigned>(args.num_sms) &&
                         bytes(2) <= kSharedBytesPerSm / 2 - 1024;
  const int budget = shares_sm ? kSharedBytesPerSm / 2 - 1024 : kSharedBytes;
  layout.stages = 1;
  while (layout.stages < kMaxStages && bytes(layout.stages + 1) <= budget) ++layout.stages;
  layout.staging = layout.stages * layout.tiles;
  layout.small = (layout.staging + staging) * kTileBytes;
  layout.barriers = layout.small + layout.stages * kSmallFloats * static_cast<int>(sizeof(float));
  layout.bytes = bytes(layout.stages);
  return layout;
}

ScanMaps MakeScanMaps(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* value) {
  ScanMaps maps;
  const bool own = args.decay == DeltaDecay::kPerChannel;
  const int64_t heads = own ? args.value_heads : args.heads;
  const auto keys = [&](const Bf16* x) {
    return MakeTokenMap(x, args.num_tokens, heads, args.key_dim, heads * args.key_dim);
  };
  maps.key = keys(own ? args.k_operand : in.k);
  maps.bar = keys(own ? args.k_bar : in.k);
  maps.query = keys(own ? args.q_operand : in.q);
  maps.value = MakeTokenMap(value, args.num_tokens, args.value_heads, args.value_dim,
                            static_cast<int64_t>(args.value_heads) * args.value_dim);
  maps.ut = MakeMatrixMap(args.ut, args.chunk_heads() * kChunk, kChunk);
  maps.scores = MakeMatrixMap(args.p, args.chunk_heads() * kChunk, kChunk);
  return maps;
}

ScanParams MakeScanParams(const Args& args, ScanKind kind, int groups) {
  ScanParams p;
  p.a = args;
  p.layout = MakeScanLayout(args, kind, groups);
  p.operand_group = args.decay == DeltaDecay::kPerChannel ? 1 : args.group;
  p.has_decay = args.decay != DeltaDecay::kNone;
  return p;
}

// ---- Entries ----

void OutputScan(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, Bf16* o, float* ht,
                cudaStream_t stream) {
  if (args.num_docs == 0) return;
  const int groups = args.scan_groups;
  ScanParams p = MakeScanParams(args, ScanKind::kOutput, groups);
  p.first = args.segments == nullptr ? in.h0 : args.segment_states;
  p.last = ht;
  p.rows_out = o;
  const ScanMaps maps = MakeScanMaps(args, in, in.v);
  DispatchScan(args, groups, [&](auto key_blocks, auto num_groups) {
    constexpr int kKeyBlocks = decltype(key_blocks)::value, kGroups = decltype(num_groups)::value;
    delta::AllowSharedMemory(OutputScanKernel<kKeyBlocks, kGroups>, p.layout.bytes);
    OutputScanKernel<kKeyBlocks, kGroups>
        <<<ScanBlocks(args, groups), kScanThreads<kGroups>, p.layout.bytes, stream>>>(maps, p);
    CUDA_CHECK_LAUNCH();
  });
}

void StateScan(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  if (args.num_chunks == 0) return;
  const int groups = args.scan_groups;
  ScanParams p = MakeScanParams(args, ScanKind::kState, groups);
  p.first = args.segments == nullptr ? in.h0 : args.segment_states;
  p.rows_out = args.e;
  ScanMaps maps = MakeScanMaps(args, in, in.v);
  maps.states = MakeMatrixMap(args.states, args.chunk_heads() * args.value_dim, args.key_dim);
  DispatchScan(args, groups, [&](auto key_blocks, auto num_groups) {
    constexpr int kKeyBlocks = decltype(key_blocks)::value, kGroups = decltype(num_groups)::value;
    delta::AllowSharedMemory(StateScanKernel<kKeyBlocks, kGroups, true>, p.layout.bytes);
    StateScanKernel<kKeyBlocks, kGroups, true>
        <<<ScanBlocks(args, groups), kScanThreads<kGroups>, p.layout.bytes, stream>>>(maps, p);
    CUDA_CHECK_LAUNCH();
  });
}

void SegmentScan(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, float* ends,
                 cudaStream_t stream) {
  ScanParams p = MakeScanParams(args, ScanKind::kState, /*groups=*/1);
  p.ends = ends;
  const ScanMaps maps = MakeScanMaps(args, in, in.v);
  const unsigned blocks = static_cast<unsigned>(args.num_scans() * args.value_heads *
                                                (args.value_dim / kTile + args.key_blocks()));
  DispatchScan(args, /*groups=*/1, [&](auto key_blocks, auto) {
    constexpr int kKeyBlocks = decltype(key_blocks)::value;
    delta::AllowSharedMemory(StateScanKernel<kKeyBlocks, 1, false>, p.layout.bytes);
    StateScanKernel<kKeyBlocks, 1, false>
        <<<blocks, kScanThreads<1>, p.layout.bytes, stream>>>(maps, p);
    CUDA_CHECK_LAUNCH();
  });
}

}  // namespace wyvern::sm90
