// The recurrence over chunks, forward and backward: one block of threads per document or span,
// value head and 64 value columns walks over the chunks with the state's Kp x 64 part in registers.
#include <algorithm>

#include "kernels/linear_attention/cuda/gated_linear_attention.cuh"

namespace wyvern::linear_attention {
namespace {

// One walk. `start` and `end` [pieces, HV, K, V], a piece being a document or a span.
template <typename T>
struct Walk {
  const T *reader, *writer;  // operands [T, HV, Kp] that meet the state
  const T* value;            // [T, HV, V]
  const T* p;
  const float* chunk_decay;
  const float* start;  // or null: zeros
  float *end, *span_decay;
  T *out, *states;
  bool value_vectors;
};

// Tiles that a walk reads through shared memory. Operands are loaded kOperandStages - 1 tiles
// ahead, which is at most a chunk.
constexpr int kValueStages = 2;
template <typename T, int kKeyBlocks>
struct Tiles {
  static constexpr int kOperandStages = kKeyBlocks == 1 ? 2 : 3;
  T reader[kOperandStages][kTileSize<T>], writer[kOperandStages][kTileSize<T>];
  T value[kValueStages][kTileSize<T>], p[kValueStages][kTileSize<T>];
  T state[kTileSize<T>];
};

template <typename T, int kKeyBlocks, bool kReverse>
__global__ void __launch_bounds__(kTileThreads, kIsBf16<T> ? 2 : 1)
    ScanKernel(Args<T> args, Walk<T> w) {
  extern __shared__ __align__(16) unsigned char shared[];
  Tiles<T, kKeyBlocks>& s = *reinterpret_cast<Tiles<T, kKeyBlocks>*>(shared);
  constexpr int kAhead = Tiles<T, kKeyBlocks>::kOperandStages - 1;
  const int HV = args.value_heads, Kp = args.key_pad, V = args.value_dim;
  const int value_blocks = args.value_pad / kTile;
  const int vt = static_cast<int>(blockIdx.x % value_blocks) * kTile;
  const int hv = static_cast<int>(blockIdx.x / value_blocks % HV);
  const int piece = static_cast<int>(blockIdx.x / value_blocks / HV);
  int first, tokens, doc;
  if (args.span_tokens > 0) {
    const Piece span = PieceOfSlot(args.in.cu_seqlens, args.num_docs, args.span_tokens, piece);
    if (span.rows == 0) return;
    first = span.first, tokens = span.rows, doc = span.doc;
  } else {
    doc = piece;
    first = args.in.cu_seqlens[doc];
    tokens = args.in.cu_seqlens[doc + 1] - first;
  }
  const int chunks = CeilDiv(tokens, kChunk), columns = min(kTile, V - vt);
  const int begin = args.in.cu_seqlens[doc];  // chunks count from the document's beginning
  const int first_slot = begin / kChunk + doc + (first - begin) / kChunk;
  const int64_t operand_ld = static_cast<int64_t>(HV) * Kp, value_ld = static_cast<int64_t>(HV) * V;

  const auto chunk_at = [&](int step) { return kReverse ? chunks - 1 - step : step; };
  // Tile kb of a step's operands, and with the first one its values; nothing beyond the last chunk.
  const auto load = [&](int step, int kb) {
    if (step >= chunks) return;
    const int chunk = chunk_at(step), rows = min(kChunk, tokens - chunk * kChunk);
    const int64_t t = first + chunk * kChunk;
    const int64_t operand = (t * HV + hv) * Kp + kb * kTile;
    const int stage = (step * kKeyBlocks + kb) % (kAhead + 1);
    if (w.out != nullptr) {
      LoadTile(s.reader[stage], w.reader + operand, operand_ld, rows, kTile, true);
    }
    LoadTile(s.writer[stage], w.writer + operand, operand_ld, rows, kTile, true);
    if (kb > 0) return;
    LoadTile(s.value[step % kValueStages], w.value + (t * HV + hv) * V + vt, value_ld, rows,
             columns, w.value_vectors);
    if (w.out != nullptr) {
      const int64_t chunk_head = static_cast<int64_t>(first_slot + chunk) * HV + hv;
      LoadTile(s.p[step % kValueStages], w.p + chunk_head * kChunk * kChunk, kChunk, kChunk, kChunk,
               true);
    }
  };
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    load(i / kKeyBlocks, i % kKeyBlocks);
    CommitCopies();
  }

  TileAcc state[kKeyBlocks];
  const int64_t outer = (static_cast<int64_t>(piece) * HV + hv) * args.key_dim * V + vt;
  const auto outer_at = [&](int kb, int row, int column) {
    return outer + static_cast<int64_t>(kb * kTile + row) * V + column;
  };
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    Clear(state[kb]);
    if (w.start == nullptr) continue;
    ForEachPair(state[kb], [&](int row, int column, float& x, float& y) {
      if (kb * kTile + row >= args.key_dim) return;
      if (column < columns) x = w.start[outer_at(kb, row, column)];
      if (column + 1 < columns) y = w.start[outer_at(kb, row, column + 1)];
    });
  }
  // The first of a thread's outputs, from its chunk's first row on; 32 bits, or registers spill.
  const int value_row = HV * V;
  const int own_out = (16 * (WarpId() % 4) + LaneId() / 4) * value_row + hv * V + vt +
                      32 * (WarpId() / 4) + 2 * (LaneId() % 4);
  float span_decay[kKeyBlocks];  // of channel threadIdx.x, in the first 64 threads
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) span_decay[kb] = 1.f;

  for (int step = 0; step < chunks; ++step) {
    const int chunk = chunk_at(step), rows = min(kChunk, tokens - chunk * kChunk);
    const int64_t chunk_head = static_cast<int64_t>(first_slot + chunk) * HV + hv;
    TileAcc out;
    Clear(out);
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      const int stage = (step * kKeyBlocks + kb) % (kAhead + 1);
      load(step + (kb + kAhead) / kKeyBlocks, (kb + kAhead) % kKeyBlocks);
      CommitCopies();
      if (w.out != nullptr || w.states != nullptr) StoreAcc(s.state, state[kb]);
      const float* decays = w.chunk_decay + chunk_head * Kp + kb * kTile;
      const int row = 16 * (WarpId() % 4) + LaneId() / 4;
      const float decay[2] = {decays[row], decays[row + 8]};
      if (w.span_decay != nullptr && threadIdx.x < kTile) span_decay[kb] *= decays[threadIdx.x];
      WaitCopies<kAhead>();
      __syncthreads();
      if (w.out != nullptr) TileMma<false, false>(out, s.reader[stage], s.state);
      if (w.states != nullptr) {
        StoreTile(w.states + (chunk_head * Kp + kb * kTile) * args.value_pad + vt, s.state,
                  args.value_pad, kTile, kTile, true);
      }
      ForEachPairIndexed(state[kb], [&](int, int, int half, int, float& x, float& y) {
        x *= decay[half];
        y *= decay[half];
      });
      TileMma<true, false>(state[kb], s.writer[stage], s.value[step % kValueStages]);
      if (kb == kKeyBlocks - 1 && w.out != nullptr) {
        TileMma<kReverse, false>(out, s.p[step % kValueStages], s.value[step % kValueStages]);
      }
      __syncthreads();
    }
    if (w.out == nullptr) continue;
    T* const to = w.out + (static_cast<int64_t>(first) + chunk * kChunk) * value_row + own_out;
    ForEachPairIndexed(out, [&](int row, int column, int half, int part, float x, float y) {
      if (row >= rows || column >= columns) return;
      T* at = to + (half * 8 * value_row + part * 8);
      if (V % 2 == 0) {
        *reinterpret_cast<Vec<T, 2>*>(at) = {FromFloatDevice<T>(x), FromFloatDevice<T>(y)};
      } else {
        at[0] = FromFloatDevice<T>(x);
        if (column + 1 < columns) at[1] = FromFloatDevice<T>(y);
      }
    });
  }
  WaitCopies<0>();

#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    if (w.end != nullptr) {
      ForEachPair(state[kb], [&](int row, int column, float x, float y) {
        if (kb * kTile + row >= args.key_dim) return;
        if (column < columns) w.end[outer_at(kb, row, column)] = x;
        if (column + 1 < columns) w.end[outer_at(kb, row, column + 1)] = y;
      });
    }
    if (w.span_decay != nullptr && vt == 0 && threadIdx.x < kTile) {
      w.span_decay[(static_cast<int64_t>(piece) * HV + hv) * Kp + kb * kTile + threadIdx.x] =
          span_decay[kb];
    }
  }
}

// Turns the state that each span adds into the state that enters it; a thread per document, value
// head and element of the state.
constexpr int kJoinThreads = 256;
template <bool kReverse>
__global__ void __launch_bounds__(kJoinThreads)
    JoinSpansKernel(const int* cu_seqlens, int num_docs, int span_tokens, int value_heads,
                    int key_dim, int value_dim, int key_pad, const float* span_decay,
                    const float* start, float* end, float* span_state) {
  const int64_t size = static_cast<int64_t>(key_dim) * value_dim;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kJoinThreads + threadIdx.x;
  if (index >= num_docs * value_heads * size) return;
  const int64_t element = index % size;
  const int hv = static_cast<int>(index / size % value_heads);
  const int doc = static_cast<int>(index / size / value_heads);
  const int begin = cu_seqlens[doc];
  const int first_slot = begin / span_tokens + doc;
  const int spans = CeilDiv(cu_seqlens[doc + 1] - begin, span_tokens);
  float state = start == nullptr ? 0.f : start[index];
  for (int step = 0; step < spans; ++step) {
    const int64_t span_head =
        static_cast<int64_t>(first_slot + (kReverse ? spans - 1 - step : step)) * value_heads + hv;
    float& at = span_state[span_head * size + element];
    const float added = at;
    at = state;
    state = fmaf(span_decay[span_head * key_pad + element / value_dim], state, added);
  }
  if (end != nullptr) end[index] = state;
}

template <typename T, bool kReverse>
void LaunchWalk(const Args<T>& args, const Walk<T>& walk, cudaStream_t stream) {
  const int pieces = args.span_tokens > 0 ? args.span_slots : args.num_docs;
  const unsigned blocks =
      static_cast<unsigned>(pieces) * args.value_heads * (args.value_pad / kTile);
  if (blocks == 0) return;
  const auto launch = [&](auto* kernel, size_t bytes) {
    AllowSharedMemory(kernel, bytes);
    kernel<<<blocks, kTileThreads, bytes, stream>>>(args, walk);
    CUDA_CHECK_LAUNCH();
  };
  switch (args.key_pad) {
    case 64:
      return launch(ScanKernel<T, 1, kReverse>, sizeof(Tiles<T, 1>));
    case 128:
      return launch(ScanKernel<T, 2, kReverse>, sizeof(Tiles<T, 2>));
    default:
      return launch(ScanKernel<T, 4, kReverse>, sizeof(Tiles<T, 4>));
  }
}

template <typename T, bool kReverse>
void RunScan(const Args<T>& args, const ScanParams<T>& p, cudaStream_t stream) {
  Walk<T> walk = {.reader = kReverse ? args.k_operand : args.q_operand,
                  .writer = kReverse ? args.q_operand : args.k_operand,
                  .value = p.value,
                  .p = args.p,
                  .chunk_decay = args.chunk_decay,
                  .start = p.start,
                  .end = p.end,
                  .span_decay = nullptr,
                  .out = p.out,
                  .states = p.states,
                  .value_vectors = MovesInVectors(p.value, args.value_dim)};
  if (args.span_tokens == 0) return LaunchWalk<T, kReverse>(args, walk, stream);
  Walk<T> sums = walk;
  sums.start = nullptr;
  sums.end = args.span_state;
  sums.span_decay = args.span_decay;
  sums.out = sums.states = nullptr;
  LaunchWalk<T, kReverse>(args, sums, stream);
  const int64_t elements =
      static_cast<int64_t>(args.num_docs) * args.value_heads * args.key_dim * args.value_dim;
  JoinSpansKernel<kReverse><<<static_cast<unsigned>(CeilDiv<int64_t>(elements, kJoinThreads)),
                              kJoinThreads, 0, stream>>>(
      args.in.cu_seqlens, args.num_docs, args.span_tokens, args.value_heads, args.key_dim,
      args.value_dim, args.key_pad, args.span_decay, p.start, p.end, args.span_state);
  CUDA_CHECK_LAUNCH();
  walk.start = args.span_state;
  walk.end = nullptr;
  LaunchWalk<T, kReverse>(args, walk, stream);
}

}  // namespace

template <typename T>
void Scan(const Args<T>& args, const ScanParams<T>& params, cudaStream_t stream) {
  if (params.reverse) {
    RunScan<T, true>(args, params, stream);
  } else {
    RunScan<T, false>(args, params, stream);
  }
}

template void Scan(const Args<float>&, const ScanParams<float>&, cudaStream_t);
template void Scan(const Args<Bf16>&, const ScanParams<Bf16>&, cudaStream_t);

}  // namespace wyvern::linear_attention
