// The parts that scans share. A scan has one block per (document or segment, value head, 64 or 128
// value columns) goes through its chunks. Each of its one or two consumer warpgroups keeps S^T (or
// dS^T), 64 value rows by K columns, in registers; a producer thread copies the operands of the
// chunks ahead into a ring of stages.
//
// With the state transposed every product takes the state, or what came from it, as its left
// operand straight from registers, and only what the caller or the WY pass stored from shared
// memory.
#pragma once

#include "kernels/common/sm90/async.cuh"
#include "kernels/delta_rule/sm90/passes.cuh"

namespace wyvern::sm90 {

// Named barriers of a scan's block.
enum ScanBarrier {
  kScanConsumers = 1,  // all consumer warpgroups
  kScanGroup = 2,      // the first consumer warpgroup; the next number is the second's
};

enum class ScanKind { kOutput, kState, kBackward };

// Tile indexes within a stage; -1: not loaded. The factors of rows (the first four of RowFactor)
// and the decays of channels lie behind the tiles of all stages.
struct ScanLayout {
  int stages = 0, tiles = 0;
  int key = 0, bar = 0, query = -1, value = 0, ut = 0, scores = -1;
  int staging = 0;   // tile index, from the start of shared memory, of what is on its way out
  int small = 0;     // byte offset of the first stage's factors
  int barriers = 0;  // byte offset
  int bytes = 0;
};
constexpr int kSmallFloats = 4 * kChunk + 128;

struct ScanMaps {
  TensorMap key, bar, query, value;  // [T, heads, dim]
  TensorMap ut, scores;              // [NC HV 64, 64]
  TensorMap states;                  // [NC HV V, K]
};

struct ScanParams {
  Args a;
  ScanLayout layout;
  int operand_group = 1;  // value heads that share a head of the key operands
  bool has_decay = false;
  const float* first = nullptr;  // state to start each scan with [NW, HV, K, V], or null: zeros
  float* last = nullptr;         // state at each document's end [N, HV, K, V], or null
  float* ends = nullptr;         // state at each scan's end [NW, HV, K, V], or null
  Bf16* rows_out = nullptr;      // [T, HV, V] o, e or dv
};

// Shared memory of one block, and its place in the problem.
struct ScanBlock {
  Bf16* tiles;
  float* small;
  Barrier *full, *empty;
  int part, hv, doc, scan;
  int begin, end;  // chunks
  bool ends_doc;   // the scan reaches the document's end; in reverse, its start

  __device__ Bf16* Stage(const ScanLayout& layout, const Ring& ring) const {
    return tiles + ring.place * layout.tiles * kTileElements;
  }
  __device__ float* Small(const Ring& ring) const { return small + ring.place * kSmallFloats; }
};

// `parts` blocks share a document or segment, and head.
template <int kGroups, ScanKind kKind>
__device__ __forceinline__ ScanBlock EnterScan(const ScanParams& p, int parts,
                                               unsigned char* shared) {
  ScanBlock block;
  const ScanLayout& layout = p.layout;
  block.tiles = reinterpret_cast<Bf16*>(shared);
  block.small = reinterpret_cast<float*>(shared + layout.small);
  block.full = reinterpret_cast<Barrier*>(shared + layout.barriers);
  block.empty = block.full + layout.stages;
  block.part = static_cast<int>(blockIdx.x) % parts;
  block.hv = static_cast<int>(blockIdx.x) / parts % p.a.value_heads;
  block.scan = static_cast<int>(blockIdx.x) / parts / p.a.value_heads;
  block.doc = p.a.segments == nullptr ? block.scan : p.a.segments[block.scan].doc;
  const int doc_begin = p.a.doc_chunks[block.doc], doc_end = p.a.doc_chunks[block.doc + 1];
  block.begin = p.a.segments == nullptr ? doc_begin : p.a.segments[block.scan].begin;
  block.end = p.a.segments == nullptr ? doc_end : p.a.segments[block.scan].end;
  block.ends_doc = kKind == ScanKind::kBackward ? block.begin == doc_begin : block.end == doc_end;
  if (threadIdx.x == 0) {
    for (int i = 0; i < layout.stages; ++i) {
      Init(block.full[i], 1);
      Init(block.empty[i], kGroups * kWarpgroupThreads);
    }
    FenceBarrierInit();
  }
  __syncthreads();
  return block;
}

// The producer: one thread fills stages, in the order in which the consumers take them.
template <int kKeyBlocks, int kGroups, ScanKind kKind>
__device__ __forceinline__ void Produce(const ScanMaps& maps, const ScanParams& p,
                                        const ScanBlock& block) {
  const ScanLayout& layout = p.layout;
  const int count = block.end - block.begin, head = block.hv / p.operand_group;
  const int small_bytes = 4 * kChunk * 4 + (p.has_decay ? p.a.key_dim * 4 : 0);
  Ring ring{layout.stages};
  for (int i = 0; i < count; ++i, ring.Advance()) {
    const int c = kKind == ScanKind::kBackward ? block.end - 1 - i : block.begin + i;
    const int token = p.a.chunks[c].first;
    const int64_t chunk_head = static_cast<int64_t>(c) * p.a.value_heads + block.hv;
    const int square_row = static_cast<int>(chunk_head) * kChunk;
    Barrier& full = block.full[ring.place];
    Wait(block.empty[ring.place], ring.empty_parity());
    ArriveExpecting(full, layout.tiles * kTileBytes + small_bytes);
    Bf16* const stage = block.Stage(layout, ring);
    const auto tile = [&](int index) { return stage + index * kTileElements; };
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      if (layout.bar != layout.key) {
        CopyTokens(tile(layout.bar + kb), maps.bar, kb * kTile, head, token, full);
      }
      CopyTokens(tile(layout.key + kb), maps.key, kb * kTile, head, token, full);
      if constexpr (kKind != ScanKind::kState) {
        CopyTokens(tile(layout.query + kb), maps.query, kb * kTile, head, token, full);
      }
    }
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      CopyTokens(tile(layout.value + g), maps.value, (block.part * kGroups + g) * kTile, block.hv,
                 token, full);
    }
    CopyMatrix(tile(layout.ut), maps.ut, 0, square_row, full);
    if constexpr (kKind != ScanKind::kState) {
      CopyMatrix(tile(layout.scores), maps.scores, 0, square_row, full);
    }
    CopyBytes(block.Small(ring), p.a.rows + chunk_head * kNumRowFactors * kChunk, 4 * kChunk * 4,
              full);
    if (p.has_decay) {
      CopyBytes(block.Small(ring) + 4 * kChunk, p.a.chunk_decay + chunk_head * p.a.key_dim,
                p.a.key_dim * 4, full);
    }
  }
}

// Rows beyond a short chunk belong to the next document: zeros instead, in every tile of tokens.
// By all consumers.
template <int kGroups>
__device__ __forceinline__ void ClearTail(const ScanLayout& layout, Bf16* stage, int rows) {
  constexpr int kThreads = kGroups * kWarpgroupThreads;
  const int pieces = (kChunk - rows) * 8;
  for (int index = 0; index < layout.tiles; ++index) {
    if (index == layout.ut || index == layout.scores) continue;
    for (int i = static_cast<int>(threadIdx.x); i < pieces; i += kThreads) {
      *reinterpret_cast<uint4*>(stage + index * kTileElements + rows * kTile + i * 8) =
          make_uint4(0, 0, 0, 0);
    }
  }
  FenceSharedWrites();
  Sync(kScanConsumers, kThreads);
}

// x[kb] = S^T, or S^T to `states` ([.., HV, K, width], entry `index`): columns column0 ... of
// width.
template <int kKeyBlocks>
__device__ __forceinline__ void LoadState(Accumulator (&x)[kKeyBlocks], const ScanParams& p,
                                          const ScanBlock& block, int column0) {
  const int64_t at = static_cast<int64_t>(block.scan) * p.a.value_heads + block.hv;
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    ForEachPair(x[kb], [&](int, int, int row, int column, float& x0, float& x1) {
      if (p.first == nullptr) {
        x0 = x1 = 0.f;
        return;
      }
      const float* from =
          p.first + (at * p.a.key_dim + kb * kTile + column) * p.a.value_dim + column0 + row;
      x0 = from[0];
      x1 = from[p.a.value_dim];
    });
  }
}
template <int kKeyBlocks>
__device__ __forceinline__ void StoreState(Accumulator (&x)[kKeyBlocks], const ScanParams& p,
                                           float* states, int64_t index, int width, int column0) {
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    ForEachPair(x[kb], [&](int, int, int row, int column, float x0, float x1) {
      float* to = states + (index * p.a.key_dim + kb * kTile + column) * width + column0 + row;
      to[0] = x0;
      to[width] = x1;
    });
  }
}
// The state at the end of a scan, value columns value0 ...
template <int kKeyBlocks>
__device__ __forceinline__ void StoreEnds(Accumulator (&x)[kKeyBlocks], const ScanParams& p,
                                          const ScanBlock& block, int value0) {
  const int64_t heads = p.a.value_heads;
  if (p.last != nullptr && block.ends_doc) {
    StoreState(x, p, p.last, block.doc * heads + block.hv, p.a.value_dim, value0);
  }
  if (p.ends != nullptr) {
    StoreState(x, p, p.ends, block.scan * heads + block.hv, p.a.value_dim, value0);
  }
}

// First row of a warpgroup's tiles in maps.states.
__device__ __forceinline__ int StateRow(const ScanParams& p, const ScanBlock& block, int c,
                                        int value0) {
  return static_cast<int>((static_cast<int64_t>(c) * p.a.value_heads + block.hv) * p.a.value_dim +
                          value0);
}

// Starts the copy of a warpgroup's state tiles to row `row` of maps.states.
template <int kKeyBlocks>
__device__ __forceinline__ void SaveState(const ScanMaps& maps, const Fragment (&x)[kKeyBlocks],
                                          Bf16* staging, int group, int row) {
  const bool leader = threadIdx.x % kWarpgroupThreads == 0;
  if (leader) WaitStores<0>();
  Sync(kScanGroup + group, kWarpgroupThreads);
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) StoreFragment<false>(staging + kb * kTileElements, x[kb]);
  FenceSharedWrites();
  Sync(kScanGroup + group, kWarpgroupThreads);
  if (leader) {
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      StoreMatrix(maps.states, kb * kTile, row, staging + kb * kTileElements);
    }
    CommitStores();
  }
}

// rows_out[token][hv][value0 ..] = x^T by way of `tile`: one of the warpgroup's own, or the stage's
// value tile, of which each warp overwrites only what it alone has read.
__device__ __forceinline__ void SaveRows(const ScanParams& p, const ScanBlock& block,
                                         const Fragment& x, Bf16* tile, int group, int value0,
                                         const Chunk& chunk) {
  StoreFragment<true>(tile, x);
  Sync(kScanGroup + group, kWarpgroupThreads);
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroupThreads;
#pragma unroll
  for (int i = 0; i < kTile * 8 / kWarpgroupThreads; ++i) {
    const int row = i * (kWarpgroupThreads / 8) + thread / 8, piece = thread % 8;
    if (row < chunk.rows) {
      *reinterpret_cast<uint4*>(
          p.rows_out +
          (static_cast<int64_t>(chunk.first + row) * p.a.value_heads + block.hv) * p.a.value_dim +
          value0 + piece * 8) = *reinterpret_cast<const uint4*>(TileRow(tile, row, piece));
    }
  }
  FenceSharedWrites();  // the copy engine writes this tile next
}

// The factors of a thread's 16 columns in a 64-wide block. Read before a wait for products, so that
// the reads and the products overlap.
struct ColumnFactors {
  float2 f[8];
};
__device__ __forceinline__ ColumnFactors LoadFactors(const float* factors) {
  ColumnFactors x;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    x.f[n] = *reinterpret_cast<const float2*>(factors + 2 * (LaneId() % 4) + 8 * n);
  }
  return x;
}

// x(i, j) *= factors[j]
__device__ __forceinline__ void ScaleColumns(Accumulator& x, const ColumnFactors& factors) {
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) x.c[n][e] *= e % 2 == 0 ? factors.f[n].x : factors.f[n].y;
  }
}
// x with columns times factors, rounded.
__device__ __forceinline__ Fragment ScaledFragment(const Accumulator& x,
                                                   const ColumnFactors& factors) {
  Fragment f;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      f.r[n / 2][2 * (n % 2) + half] =
          Pack(x.c[n][2 * half] * factors.f[n].x, x.c[n][2 * half + 1] * factors.f[n].y);
    }
  }
  return f;
}
__device__ __forceinline__ Fragment ScaledFragment(const Fragment& x,
                                                   const ColumnFactors& factors) {
  Fragment f;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t pair = x.r[n / 2][2 * (n % 2) + half];
      f.r[n / 2][2 * (n % 2) + half] =
          Pack(UnpackLow(pair) * factors.f[n].x, UnpackHigh(pair) * factors.f[n].y);
    }
  }
  return f;
}

// A consumer thread is done with a stage.
__device__ __forceinline__ void Release(Barrier& empty) { Arrive(empty); }

// ---- Host side ----

// The state that each segment leaves when it starts with nothing: ends = E ([NS, HV, K, V]) and
// args.transitions, but for each document's last segment.
void SegmentScan(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, float* ends,
                 cudaStream_t stream);
// The same in reverse, but for each document's first segment: ends = F.
void SegmentScanBackward(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                         float* ends, cudaStream_t stream);

ScanLayout MakeScanLayout(const Args& args, ScanKind kind, int groups);
ScanMaps MakeScanMaps(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* value);
ScanParams MakeScanParams(const Args& args, ScanKind kind, int groups);
inline unsigned ScanBlocks(const Args& args, int groups) {
  return static_cast<unsigned>(static_cast<int64_t>(args.num_scans()) * args.value_heads *
                               (args.value_dim / (kTile * groups)));
}

// Calls launch.template operator()<key blocks, groups>().
template <class F>
void DispatchScan(const Args& args, int groups, F&& launch) {
  const auto with_groups = [&](auto key_blocks) {
    if (groups == 1) return launch(key_blocks, std::integral_constant<int, 1>());
    return launch(key_blocks, std::integral_constant<int, 2>());
  };
  if (args.key_blocks() == 1) return with_groups(std::integral_constant<int, 1>());
  return with_groups(std::integral_constant<int, 2>());
}

template <int kGroups>
constexpr int kScanThreads = (kGroups + 1) * kWarpgroupThreads;
// Registers per thread of a consumer, and of the producer's warpgroup.
template <int kGroups>
constexpr int kScanRegisters = kGroups == 1 ? 232 : 240;
constexpr int kScanProducerRegisters = 24;

}  // namespace wyvern::sm90
