// dq, dk and dg, one block of threads per chunk and key head, which takes the value heads of its
// group in turn. With dP_ij = s dO_i v_j for i >= j and Z = v dS+^T:
//
//   dq_i = s e^{G_i} (dO S^T)_i + sum_j dP_ij k_j e^{G_i - G_j}
//   dk_j = e^{G_C - G_j} Z_j + sum_i dP_ij q_i e^{G_i - G_j}
//   dg_t = sum_{i >= t} [qe_i (dO S^T)_i + u_i - w_i] + sum_{j < t} kbar_j Z_j + e^{G_C} sum_v S
//   dS+
//
// where u_i = q_i times the second term of dq_i, w_j = k_j times that of dk_j, both without i = j.
// A pair (i, j) adds the same to u and w, so that only those with i >= t > j are left in dg_t. With
// strong decays they are the small rest of large terms: rows and columns see the same rounded
// operands, and so cancel.
#include "kernels/common/vector.cuh"
#include "kernels/linear_attention/cuda/gated_linear_attention.cuh"

namespace wyvern::linear_attention {
namespace {

// Sums that must cancel are in double when their terms are fp32.
template <typename T>
using WideOf = std::conditional_t<kIsBf16<T>, float, double>;

// The same value, but what is computed from it is computed anew each time: kept from pass to pass,
// the many addresses spill registers.
__device__ __forceinline__ int Anew(int x) {
  asm volatile("" : "+r"(x));
  return x;
}
__device__ __forceinline__ int64_t Anew(int64_t x) {
  asm volatile("" : "+l"(x));
  return x;
}

template <typename T>
struct GradTiles {
  // Two stages of dO, v, S and dS+ while they are multiplied. Then one has q, k and decays; over
  // the first two of these, the slots of q and k; and over the last two tiles, as fp32, the
  // gradients of k's slots. The other has, as fp32, dO S^T, and Z, then kbar Z.
  T tiles[2][4][kTileSize<T>];
  T dp_slots[kTileSize<T>];  // dP / s of different blocks, by slots; zeros elsewhere
  // Gradients of q's slots, where k's do not leave a tile for them.
  float q_slots[kIsBf16<T> ? kTileSize<float> : 4];
  float dp[kBlocks][kBlock][kBlock];  // dP / s within blocks
  float decays[kBlocks][kTile];
  float state_dot[kTile];              // e^{G_C} sum_v S dS+
  WideOf<T> row_sums[kBlocks][kTile];  // of a block's qe (dO S^T) + u - w
  float column_sums[kBlocks][kTile];   // of a block's kbar Z
  float head_dg[2][kChunk];            // dg of a decay per head, by half of the channels
};
static_assert(2 * kTileBytes<Bf16> >= kTileBytes<float>, "fp32 over two tiles");
static_assert(sizeof(GradTiles<float>) <= 163 * 1024, "what sm_80 gives a block");

// kGrouped: several value heads read one key head.
template <typename T, bool kGrouped>
__global__ void __launch_bounds__(kTileThreads, kIsBf16<T> ? 2 : 1)
    GradKernel(Args<T> args, Gate gate, GatedLinearAttentionBwdParams<T> p, bool d_o_vectors,
               bool v_vectors) {
  extern __shared__ __align__(16) unsigned char shared[];
  GradTiles<T>& s = *reinterpret_cast<GradTiles<T>*>(shared);
  constexpr int kLdF = kTileLd<float>;
  const int group = kGrouped ? args.group : 1;
  const int h = static_cast<int>(blockIdx.x % args.heads);
  const int slot = static_cast<int>(blockIdx.x / args.heads);
  const Piece chunk = PieceOfSlot(args.in.cu_seqlens, args.num_docs, kChunk, slot);
  if (chunk.rows == 0) return;
  const int tid = static_cast<int>(threadIdx.x), column = tid % kTile, block = tid / kTile;
  const int rows = chunk.rows - block * kBlock;  // of this thread's block
  const int HV = args.value_heads, K = args.key_dim, V = args.value_dim;
  const int Kp = args.key_pad, Vp = args.value_pad;
  const int64_t first = chunk.first + block * kBlock;
  const float scale = static_cast<float>(args.in.scale);
  const bool per_head = args.in.decay == LinearDecay::kPerHead;
  const bool want_gate = p.d_gate != nullptr;

  int stage = 0;  // to be loaded next, or read after that
  // Value tile `tile` of dO, v, S and dS+.
  const auto load = [&](int kb, int hv, int tile) {
    T(*const to)[kTileSize<T>] = s.tiles[stage];
    const int64_t value_ld = Anew(static_cast<int64_t>(HV) * V), state_ld = Anew(int64_t{Vp});
    const int vt = tile * kTile, columns = min(kTile, V - vt);
    const int64_t values = (static_cast<int64_t>(chunk.first) * HV + hv) * V + vt;
    const int64_t state = ((static_cast<int64_t>(slot) * HV + hv) * Kp + kb * kTile) * Vp + vt;
    LoadTile(to[0], p.d_o + values, value_ld, chunk.rows, columns, d_o_vectors);
    LoadTile(to[1], args.in.v + values, value_ld, chunk.rows, columns, v_vectors);
    LoadTile(to[2], args.states + state, state_ld, kTile, kTile, true);
    LoadTile(to[3], args.d_states + state, state_ld, kTile, kTile, true);
    CommitCopies();
  };

  load(0, h * group, 0);
  for (int i = tid; i < kTileSize<T>; i += kTileThreads) s.dp_slots[i] = FromFloatDevice<T>(0.f);
  for (int kb = 0; kb < Kp / kTile; ++kb) {
    const int channel = kb * kTile + column;
    for (int hv = h * group; hv < (h + 1) * group; ++hv) {
      const bool first_head = hv == h * group, last_head = hv == (h + 1) * group - 1;
      const bool make_dp = kb == 0 || kGrouped;  // else dP is there already

      // dO S^T, Z, dP / s and sum_v S dS+.
      TileAcc from_state, to_state, dp_sums;
      Clear(from_state);
      Clear(to_state);
      Clear(dp_sums);
      float state_dot = 0;
      for (int tile = 0; tile < Vp / kTile; ++tile) {
        WaitCopies<0>();
        __syncthreads();
        const T(*const from)[kTileSize<T>] = s.tiles[stage];
        stage ^= 1;
        if (tile + 1 < Vp / kTile) {
          load(kb, hv, tile + 1);
        } else {
          CopyRows(s.tiles[stage], args, chunk, hv, kb * kTile);
          CommitCopies();
        }
        TileMma<false, true>(from_state, from[0], from[2]);
        TileMma<false, true>(to_state, from[1], from[3]);
        if (make_dp) TileMma<false, true>(dp_sums, from[0], from[1]);
        const int t = Anew(tid), at = t / 4 * kTileLd<T> + t % 4 * 16;
#pragma unroll
        for (int part = 0; part < 16; part += kVecSize<T>) {
          float x[kVecSize<T>], y[kVecSize<T>];
          LoadFloats(from[2] + at + part, x);
          LoadFloats(from[3] + at + part, y);
#pragma unroll
          for (int i = 0; i < kVecSize<T>; ++i) state_dot = fmaf(x[i], y[i], state_dot);
        }
      }
      WaitCopies<0>();
      __syncthreads();
      T(*const rows_of)[kTileSize<T>] = s.tiles[stage];
      T *const s_q_slots = rows_of[0], *const s_k_slots = rows_of[1];
      float* const s_k_slot_grads = reinterpret_cast<float*>(rows_of[2]);
      float* const s_q_slot_grads = kIsBf16<T> ? s.q_slots : reinterpret_cast<float*>(rows_of[3]);
      float* const s_rows = reinterpret_cast<float*>(s.tiles[stage ^ 1][0]);
      float* const s_columns = reinterpret_cast<float*>(s.tiles[stage ^ 1][2]);
      StoreAcc(s_rows, from_state);
      StoreAcc(s_columns, to_state);
      state_dot += __shfl_xor_sync(0xffffffffu, state_dot, 1);
      state_dot += __shfl_xor_sync(0xffffffffu, state_dot, 2);
      if (tid % 4 == 0) {
        const int64_t chunk_head = static_cast<int64_t>(slot) * HV + hv;
        s.state_dot[tid / 4] = args.chunk_decay[chunk_head * Kp + kb * kTile + tid / 4] * state_dot;
      }
      if (make_dp) {
        ForEachPair(dp_sums, [&](int i, int j, float x, float y) {
          i = Anew(i), j = Anew(j);
          const int bi = i / kBlock, bj = j / kBlock;
          if (bi == bj) {
            float* to = &s.dp[bi][i % kBlock][j % kBlock];
            to[0] = x;
            to[1] = y;
          } else if (bi > bj) {
            // Among the slots that hold these blocks, those which PairOfSlots pairs.
            const int q_slot = bi == 3 && bj == 2 ? 0 : bi, k_slot = bj == 0 && bi > 1 ? 3 : bj;
            T* to = s.dp_slots + (q_slot * kBlock + i % kBlock) * kTileLd<T> + k_slot * kBlock +
                    j % kBlock;
            *reinterpret_cast<Vec<T, 2>*>(to) = {FromFloatDevice<T>(x), FromFloatDevice<T>(y)};
          }
        });
      }
      const int present = channel < K ? rows : 0;
      const BlockRows x = RowsOf<T>(rows_of, args, gate, chunk, hv, block, column, present);
      float own = 1.f;
#pragma unroll
      for (int r = 0; r < kBlock; ++r) own *= x.a[r];
      s.decays[block][column] = own;
      __syncthreads();
      const BlockDecays d = DecaysAround(s.decays, block, column);
      StoreSlots(s_q_slots, s_k_slots, x, d, block, column);

      __syncthreads();
      // Through pairs of different blocks: to the rows of each slot of q, and of k.
      {
        TileAcc sums;
        Clear(sums);
        TileMma<false, false>(sums, s.dp_slots, s_k_slots);
        StoreAcc(s_q_slot_grads, sums);
        Clear(sums);
        TileMma<true, false>(sums, s.dp_slots, s_q_slots);
        StoreAcc(s_k_slot_grads, sums);
      }
      __syncthreads();

      const float(*const dp)[kBlock] = s.dp[block];
      float* const own_rows = s_rows + block * kBlock * kLdF + column;
      float* const own_columns = s_columns + block * kBlock * kLdF + column;
      const int key_ld = args.heads * K;
      const int64_t keys = (first * args.heads + h) * K + channel;
      // Sums over a group are kept in fp32 until its last head.
      const bool finished = !kGrouped || last_head;
      const int dq_rows = finished && p.dq == nullptr ? 0 : present;
      const int dk_rows = finished && p.dk == nullptr ? 0 : present;
      const auto put = [&](int r, float gradient, float* sums, T* out) {
        const int64_t at = keys + r * key_ld;
        if (kGrouped && !first_head) gradient += sums[at];
        if (finished) {
          out[at] = FromFloatDevice<T>(gradient);
        } else {
          sums[at] = gradient;
        }
      };

      // dq, row by row: through the state, through pairs of the block by decayed[j] = k_j times the
      // decays from j to the row, and through other blocks. of_rows becomes u of pairs of the
      // block, the thread's part of s_rows the other terms of qe (dO S^T) + u - w that have q.
      float of_rows[kBlock], decayed[kBlock];
      float decay = scale * d.before, in_block = scale;
#pragma unroll
      for (int i = 0; i < kBlock; ++i) {
        float pairs = 0.f;
#pragma unroll
        for (int j = 0; j < i; ++j) {
          decayed[j] *= x.a[i];
          pairs = fmaf(dp[i][j], decayed[j], pairs);
        }
        decayed[i] = x.k[i];
        pairs *= scale;
        of_rows[i] = x.q[i] * pairs;
        decay *= x.a[i];
        in_block *= x.a[i];
        const float from_row = decay * own_rows[i * kLdF];
        float of_others = x.q[i] * from_row;
        float dq = pairs + fmaf(scale * dp[i][i], x.k[i], from_row);
        const auto add = [&](int slot_of_rows, float between) {
          const int row = slot_of_rows * kBlock + i;
          const float sum = s_q_slot_grads[row * kLdF + column];
          dq += in_block * between * sum;
          of_others += ToFloatDevice(s_q_slots[row * kTileLd<T> + column]) * (scale * sum);
        };
        if (block == 3) add(0, 1.f);
        if (block > 0) add(block, block == 3 ? d.third : 1.f);
        own_rows[i * kLdF] = of_others;
        if (i < dq_rows) put(i, dq, args.dq_sum, p.dq);
        if (i % 2 == 1) __syncwarp();  // so few rows at a time, or registers spill
      }
      // dk likewise, from the last row on, with decayed[i] = q_i times the decays from the row to
      // i. of_rows becomes the whole sum, the thread's part of s_columns kbar Z.
      decay = d.after;
      in_block = scale;
#pragma unroll
      for (int j = kBlock - 1; j >= 0; --j) {
        float pairs = 0.f;
#pragma unroll
        for (int i = j + 1; i < kBlock; ++i) pairs = fmaf(dp[i][j], decayed[i], pairs);
        pairs *= scale;
        const float to_row = decay * own_columns[j * kLdF];
        own_columns[j * kLdF] = x.k[j] * to_row;
        of_rows[j] = own_rows[j * kLdF] + (of_rows[j] - x.k[j] * pairs);
        float dk = pairs + fmaf(scale * dp[j][j], x.q[j], to_row);
        const auto add = [&](int slot_of_rows, float between) {
          const int row = slot_of_rows * kBlock + j;
          const float sum = s_k_slot_grads[row * kLdF + column];
          dk += in_block * between * sum;
          of_rows[j] -= ToFloatDevice(s_k_slots[row * kTileLd<T> + column]) * (scale * sum);
        };
        if (block < 3) add(block, 1.f);
        if (block == 0) add(3, d.second);
        if (j < dk_rows) put(j, dk, args.dk_sum, p.dk);
        if (j % 2 == 0) __syncwarp();
        decay *= x.a[j];
        in_block *= x.a[j];
        decayed[j] = x.q[j];
#pragma unroll
        for (int i = j; i < kBlock; ++i) decayed[i] *= x.a[j];
      }

      const int64_t gate_row = static_cast<int64_t>(chunk.first) * HV + hv;
      if (want_gate) {
        WideOf<T> row_sum = 0;
        float column_sum = 0;
#pragma unroll
        for (int r = 0; r < kBlock; ++r) {
          row_sum += of_rows[r];
          column_sum += own_columns[r * kLdF];
        }
        s.row_sums[block][column] = row_sum;
        s.column_sums[block][column] = column_sum;
      }
      __syncthreads();
      const int next_kb = kb + last_head;
      if (next_kb < Kp / kTile) load(next_kb, last_head ? h * group : hv + 1, 0);
      if (want_gate) {
        WideOf<T> after = 0;
        float before = s.state_dot[column];
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) {
          if (b > block) after += s.row_sums[b][column];
          if (b < block) before += s.column_sums[b][column];
        }
        float dg[kBlock];
#pragma unroll
        for (int r = 0; r < kBlock; ++r) {
          dg[r] = before;
          before += own_columns[r * kLdF];
        }
#pragma unroll
        for (int r = kBlock - 1; r >= 0; --r) {
          after += of_rows[r];
          dg[r] += static_cast<float>(after);
        }
        if (!per_head) {
          // Elements that exist, and all of them before the first is used.
          const int gate_ld = HV * K;
          const int64_t gates = gate_row * K + min(channel, K - 1);
          float inputs[kBlock];
#pragma unroll
          for (int r = 0; r < kBlock; ++r) {
            const int row = min(block * kBlock + r, chunk.rows - 1);
            inputs[r] = ToFloatDevice(args.in.gate[gates + row * gate_ld]);
          }
          ToGateGradients<T>(gate, inputs, dg);
          T* const out = p.d_gate + gates + block * kBlock * gate_ld;
#pragma unroll
          for (int r = 0; r < kBlock; ++r) {
            if (r < present) out[r * gate_ld] = FromFloatDevice<T>(dg[r]);
          }
        } else {
          // Each warp sums its half of the channels; args.head_dg keeps those of earlier tiles.
#pragma unroll
          for (int r = 0; r < kBlock; ++r) {
            const float sum = WarpSum(dg[r]);
            if (LaneId() == 0) s.head_dg[WarpId() % 2][block * kBlock + r] = sum;
          }
          __syncthreads();
          if (tid < chunk.rows) {
            const int64_t at = gate_row + static_cast<int64_t>(tid) * HV;
            float sum = s.head_dg[0][tid] + s.head_dg[1][tid];
            if (kb > 0) sum += args.head_dg[at];
            if (kb < Kp / kTile - 1) {
              args.head_dg[at] = sum;
            } else {
              const float input[1] = {ToFloatDevice(args.in.gate[at])};
              float d_gate[1] = {sum};
              ToGateGradients<T>(gate, input, d_gate);
              p.d_gate[at] = FromFloatDevice<T>(d_gate[0]);
            }
          }
        }
      }
    }
  }
}

}  // namespace

template <typename T>
void Grad(const Args<T>& args, const GatedLinearAttentionBwdParams<T>& p, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>(args.chunk_slots) * args.heads;
  if (blocks == 0) return;
  auto* const kernel = args.group > 1 ? GradKernel<T, true> : GradKernel<T, false>;
  AllowSharedMemory(kernel, sizeof(GradTiles<T>));
  kernel<<<blocks, kTileThreads, sizeof(GradTiles<T>), stream>>>(
      args, GateOf(args.in), p, MovesInVectors(p.d_o, args.value_dim),
      MovesInVectors(args.in.v, args.value_dim));
  CUDA_CHECK_LAUNCH();
}

template void Grad(const Args<float>&, const GatedLinearAttentionBwdParams<float>&, cudaStream_t);
template void Grad(const Args<Bf16>&, const GatedLinearAttentionBwdParams<Bf16>&, cudaStream_t);

}  // namespace wyvern::linear_attention
