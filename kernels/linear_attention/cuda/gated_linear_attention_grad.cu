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
#include "kernels/linear_attention/cuda/gated_linear_attention.cuh"

namespace wyvern::linear_attention {
namespace {

// Sums that must cancel are in double when their terms are fp32.
template <typename T>
using WideOf = std::conditional_t<kIsBf16<T>, float, double>;

template <typename T>
struct GradTiles {
  // dO, v, S and dS+ while they are multiplied; then the slots of q and k, and over the last two,
  // as fp32, the gradients of k's slots.
  T tiles[4][kTileSize<T>];
  T dp_slots[kTileSize<T>];           // dP of different blocks, by slots; zeros elsewhere
  float rows[kTileSize<float>];       // dO S^T, then its part of dq
  float columns[kTileSize<float>];    // Z, then its part of dk
  float q_slots[kTileSize<float>];    // gradients of q's slots
  float dp[kBlocks][kBlock][kBlock];  // dP within blocks
  float decays[kBlocks][kTile];
  float state_dot[kTile];              // e^{G_C} sum_v S dS+
  WideOf<T> row_sums[kBlocks][kTile];  // of a block's qe (dO S^T) + u - w
  float column_sums[kBlocks][kTile];   // of a block's kbar Z
  float head_dg[2][kChunk];            // dg of a decay per head, by half of the channels
};
static_assert(2 * kTileBytes<Bf16> >= kTileBytes<float>, "fp32 over two tiles");

template <typename T>
__global__ void __launch_bounds__(kTileThreads, kIsBf16<T> ? 2 : 1)
    GradKernel(Args<T> args, Gate gate, GatedLinearAttentionBwdParams<T> p, bool d_o_vectors,
               bool v_vectors) {
  extern __shared__ __align__(16) unsigned char shared[];
  GradTiles<T>& s = *reinterpret_cast<GradTiles<T>*>(shared);
  constexpr int kLdF = kTileLd<float>;
  T *const s_d_o = s.tiles[0], *const s_v = s.tiles[1];
  T *const s_state = s.tiles[2], *const s_d_state = s.tiles[3];
  T *const s_q_slots = s.tiles[0], *const s_k_slots = s.tiles[1];
  float* const s_k_slot_grads = reinterpret_cast<float*>(s.tiles[2]);
  const int h = static_cast<int>(blockIdx.x % args.heads);
  const int slot = static_cast<int>(blockIdx.x / args.heads);
  const Piece chunk = PieceOfSlot(args.in.cu_seqlens, args.num_docs, kChunk, slot);
  if (chunk.rows == 0) return;
  const int tid = static_cast<int>(threadIdx.x), column = tid % kTile, block = tid / kTile;
  const int rows = chunk.rows - block * kBlock;  // of this thread's block
  const int HV = args.value_heads, K = args.key_dim, V = args.value_dim;
  const int Kp = args.key_pad, Vp = args.value_pad;
  const int64_t first = chunk.first + block * kBlock;
  const int64_t value_ld = static_cast<int64_t>(HV) * V;
  const float scale = static_cast<float>(args.in.scale);
  const bool per_head = args.in.decay == LinearDecay::kPerHead;
  const bool want_gate = p.d_gate != nullptr;

  // dP of one value head, scaled and rounded, into shared memory.
  const auto make_dp = [&](int hv) {
    const int64_t values = (static_cast<int64_t>(chunk.first) * HV + hv) * V;
    TileAcc dp;
    Clear(dp);
    for (int vt = 0; vt < Vp; vt += kTile) {
      const int columns = min(kTile, V - vt);
      LoadTile(s_d_o, p.d_o + values + vt, value_ld, chunk.rows, columns, d_o_vectors);
      LoadTile(s_v, args.in.v + values + vt, value_ld, chunk.rows, columns, v_vectors);
      CommitCopies();
      WaitCopies<0>();
      __syncthreads();
      TileMma<false, true>(dp, s_d_o, s_v);
      __syncthreads();
    }
    for (int i = tid; i < kTileSize<T>; i += kTileThreads) {
      s.dp_slots[i] = FromFloatDevice<T>(0.f);
    }
    __syncthreads();
    ForEachPair(dp, [&](int i, int j, float x, float y) {
      x *= scale;
      y *= scale;
      const int bi = i / kBlock, bj = j / kBlock;
      if (bi == bj) {
        float* to = &s.dp[bi][i % kBlock][j % kBlock];
        to[0] = x;
        to[1] = y;
      } else if (bi > bj) {
        // Among the slots that hold these blocks, those which PairOfSlots pairs.
        const int q_slot = bi == 3 && bj == 2 ? 0 : bi, k_slot = bj == 0 && bi > 1 ? 3 : bj;
        T* to =
            s.dp_slots + (q_slot * kBlock + i % kBlock) * kTileLd<T> + k_slot * kBlock + j % kBlock;
        *reinterpret_cast<Vec<T, 2>*>(to) = {FromFloatDevice<T>(x), FromFloatDevice<T>(y)};
      }
    });
  };

  for (int kb = 0; kb < Kp / kTile; ++kb) {
    const int channel = kb * kTile + column;
    for (int hv = h * args.group; hv < (h + 1) * args.group; ++hv) {
      const int64_t chunk_head = static_cast<int64_t>(slot) * HV + hv;
      const int64_t values = (static_cast<int64_t>(chunk.first) * HV + hv) * V;
      if (kb == 0 || args.group > 1) make_dp(hv);

      // dO S^T, Z and sum_v S dS+.
      {
        TileAcc from_state, to_state;
        Clear(from_state);
        Clear(to_state);
        float state_dot = 0;
        for (int vt = 0; vt < Vp; vt += kTile) {
          const int columns = min(kTile, V - vt);
          const int64_t state = (chunk_head * Kp + kb * kTile) * Vp + vt;
          LoadTile(s_d_o, p.d_o + values + vt, value_ld, chunk.rows, columns, d_o_vectors);
          LoadTile(s_v, args.in.v + values + vt, value_ld, chunk.rows, columns, v_vectors);
          LoadTile(s_state, args.states + state, Vp, kTile, kTile, true);
          LoadTile(s_d_state, args.d_states + state, Vp, kTile, kTile, true);
          CommitCopies();
          WaitCopies<0>();
          __syncthreads();
          TileMma<false, true>(from_state, s_d_o, s_state);
          TileMma<false, true>(to_state, s_v, s_d_state);
          const int at = tid / 4 * kTileLd<T> + tid % 4 * 16;
#pragma unroll
          for (int i = 0; i < 16; ++i) {
            state_dot =
                fmaf(ToFloatDevice(s_state[at + i]), ToFloatDevice(s_d_state[at + i]), state_dot);
          }
          __syncthreads();
        }
        StoreAcc(s.rows, from_state);
        StoreAcc(s.columns, to_state);
        state_dot += __shfl_xor_sync(0xffffffffu, state_dot, 1);
        state_dot += __shfl_xor_sync(0xffffffffu, state_dot, 2);
        if (tid % 4 == 0) {
          s.state_dot[tid / 4] =
              args.chunk_decay[chunk_head * Kp + kb * kTile + tid / 4] * state_dot;
        }
      }
      const BlockRows x = LoadRows(args, gate, chunk, hv, block, channel);
      float own = 1.f;
#pragma unroll
      for (int r = 0; r < kBlock; ++r) own *= x.a[r];
      s.decays[block][column] = own;
      __syncthreads();
      const BlockDecays d = DecaysAround(s.decays, block, column);
      StoreSlots(s_q_slots, s_k_slots, x, d, block, column);

      // Through pairs of one block, each with the product of the decays between its rows.
      float dq[kBlock] = {}, dk[kBlock];
      const float(*const dp)[kBlock] = s.dp[block];
#pragma unroll
      for (int j = 0; j < kBlock; ++j) {
        float between = 1.f;
        dk[j] = 0.f;
#pragma unroll
        for (int i = j + 1; i < kBlock; ++i) {
          between *= x.a[i];
          const float weight = dp[i][j] * between;
          dk[j] = fmaf(weight, x.q[i], dk[j]);
          dq[i] = fmaf(weight, x.k[j], dq[i]);
        }
      }
      // Through the state and i = j. Each thread's rows of s.rows become qe (dO S^T) + u - w, those
      // of s.columns kbar Z.
      float* const own_rows = s.rows + block * kBlock * kLdF + column;
      float* const own_columns = s.columns + block * kBlock * kLdF + column;
      float decay = scale * d.before;
#pragma unroll
      for (int r = 0; r < kBlock; ++r) {
        decay *= x.a[r];
        const float from_state = decay * own_rows[r * kLdF];
        own_rows[r * kLdF] = x.q[r] * from_state + (x.q[r] * dq[r] - x.k[r] * dk[r]);
        dq[r] += fmaf(dp[r][r], x.k[r], from_state);
      }
      decay = d.after;
#pragma unroll
      for (int r = kBlock - 1; r >= 0; --r) {
        const float to_state = decay * own_columns[r * kLdF];
        own_columns[r * kLdF] = x.k[r] * to_state;
        dk[r] += fmaf(dp[r][r], x.q[r], to_state);
        decay *= x.a[r];
      }
      __syncthreads();

      // Through pairs of different blocks: to the rows of each slot of q, and of k.
      {
        TileAcc of_q, of_k;
        Clear(of_q);
        Clear(of_k);
        TileMma<false, false>(of_q, s.dp_slots, s_k_slots);
        TileMma<true, false>(of_k, s.dp_slots, s_q_slots);
        StoreAcc(s.q_slots, of_q);
        StoreAcc(s_k_slot_grads, of_k);
      }
      __syncthreads();
      decay = 1.f;
#pragma unroll
      for (int r = 0; r < kBlock; ++r) {
        decay *= x.a[r];
        if (block == 0) continue;
        const auto add = [&](int slot_of_rows, float between) {
          const int row = slot_of_rows * kBlock + r;
          const float sum = s.q_slots[row * kLdF + column];
          dq[r] += decay * between * sum;
          own_rows[r * kLdF] += ToFloatDevice(s_q_slots[row * kTileLd<T> + column]) * sum;
        };
        if (block == 3) add(0, 1.f);
        add(block, block == 3 ? d.third : 1.f);
      }
      decay = 1.f;
#pragma unroll
      for (int r = kBlock - 1; r >= 0; --r) {
        if (block < 3) {
          const auto add = [&](int slot_of_rows, float between) {
            const int row = slot_of_rows * kBlock + r;
            const float sum = s_k_slot_grads[row * kLdF + column];
            dk[r] += decay * between * sum;
            own_rows[r * kLdF] -= ToFloatDevice(s_k_slots[row * kTileLd<T> + column]) * sum;
          };
          add(block, 1.f);
          if (block == 0) add(3, d.second);
        }
        decay *= x.a[r];
      }
      const bool first_head = hv == h * args.group, last_head = hv == (h + 1) * args.group - 1;
#pragma unroll
      for (int r = 0; r < kBlock; ++r) {
        if (r >= rows || channel >= K) continue;
        const int64_t at = ((first + r) * args.heads + h) * K + channel;
        const auto put = [&](float gradient, float* sum, T* to) {
          if (!first_head) gradient += sum[at];
          if (!last_head) {
            sum[at] = gradient;
          } else if (to != nullptr) {
            to[at] = FromFloatDevice<T>(gradient);
          }
        };
        put(dq[r], args.dq_sum, p.dq);
        put(dk[r], args.dk_sum, p.dk);
      }

      if (want_gate) {
        WideOf<T> row_sum = 0;
        float column_sum = 0;
#pragma unroll
        for (int r = 0; r < kBlock; ++r) {
          row_sum += own_rows[r * kLdF];
          column_sum += own_columns[r * kLdF];
        }
        s.row_sums[block][column] = row_sum;
        s.column_sums[block][column] = column_sum;
        __syncthreads();
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
          after += own_rows[r * kLdF];
          dg[r] += static_cast<float>(after);
        }
        if (!per_head) {
          const int64_t gates = (static_cast<int64_t>(chunk.first) * HV + hv) * K;
          const auto gate_at = [&](int r, int c) {
            return gates + static_cast<int64_t>(r) * HV * K + c;
          };
#pragma unroll
          for (int r = 0; r < kBlock; ++r) {  // elements that exist, as in LoadRows
            const T raw =
                args.in.gate[gate_at(min(block * kBlock + r, chunk.rows - 1), min(channel, K - 1))];
            dg[r] = GateGradient<T>(gate, ToFloatDevice(raw), dg[r]);
          }
#pragma unroll
          for (int r = 0; r < kBlock; ++r) {
            if (r >= rows || channel >= K) continue;
            p.d_gate[gate_at(block * kBlock + r, channel)] = FromFloatDevice<T>(dg[r]);
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
            const int64_t at = static_cast<int64_t>(chunk.first + tid) * HV + hv;
            float sum = s.head_dg[0][tid] + s.head_dg[1][tid];
            if (kb > 0) sum += args.head_dg[at];
            if (kb < Kp / kTile - 1) {
              args.head_dg[at] = sum;
            } else {
              p.d_gate[at] =
                  FromFloatDevice<T>(GateGradient<T>(gate, ToFloatDevice(args.in.gate[at]), sum));
            }
          }
        }
      }
      __syncthreads();
    }
  }
}

}  // namespace

template <typename T>
void Grad(const Args<T>& args, const GatedLinearAttentionBwdParams<T>& p, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>(args.chunk_slots) * args.heads;
  if (blocks == 0) return;
  AllowSharedMemory(GradKernel<T>, sizeof(GradTiles<T>));
  GradKernel<T><<<blocks, kTileThreads, sizeof(GradTiles<T>), stream>>>(
      args, GateOf(args.in), p, MovesInVectors(p.d_o, args.value_dim),
      MovesInVectors(args.in.v, args.value_dim));
  CUDA_CHECK_LAUNCH();
}

template void Grad(const Args<float>&, const GatedLinearAttentionBwdParams<float>&, cudaStream_t);
template void Grad(const Args<Bf16>&, const GatedLinearAttentionBwdParams<Bf16>&, cudaStream_t);

}  // namespace wyvern::linear_attention
