// Segments of a parallel scan: which there are, and the states that enter and leave each
// (passes.cuh).
#include "kernels/delta_rule/sm90/state_scan.cuh"
#include "kernels/runtime/allocator.h"

namespace wyvern::sm90 {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 32;  // value columns of a block
constexpr int kInner = 32;    // columns of Phi (or rows, in reverse) in shared memory at a time

// Few documents, so one thread lists them all.
__global__ void ListSegmentsKernel(const int* doc_chunks, int num_docs, int segment_chunks,
                                   Segment* segments) {
  int count = 0;
  for (int doc = 0; doc < num_docs; ++doc) {
    const int end = doc_chunks[doc + 1];
    int begin = doc_chunks[doc];
    do {
      segments[count++] = {begin, min(begin + segment_chunks, end), doc, 0};
      begin += segment_chunks;
    } while (begin < end);
  }
}

// One block per (document, value head, 32 value columns) goes through the document's segments: S is
// stored as what enters the segment, then becomes Phi S + E. In reverse from the last segment, with
// Phi^T.
template <bool kReverse>
__global__ void __launch_bounds__(kThreads)
    CombineKernel(Args a, const float* first, const float* ends, float* states) {
  __shared__ float s_state[128][kColumns];
  __shared__ float s_phi[128][kInner + 1];
  const int blocks = a.value_dim / kColumns, K = a.key_dim, V = a.value_dim;
  const int column0 = static_cast<int>(blockIdx.x) % blocks * kColumns;
  const int hv = static_cast<int>(blockIdx.x) / blocks % a.value_heads;
  const int doc = static_cast<int>(blockIdx.x) / blocks / a.value_heads;
  const int tid = static_cast<int>(threadIdx.x);
  int begin = 0;
  while (a.segments[begin].doc != doc) ++begin;
  int end = begin;
  while (end < a.num_segments && a.segments[end].doc == doc) ++end;

  const int64_t doc_head = static_cast<int64_t>(doc) * a.value_heads + hv;
  for (int i = tid; i < K * kColumns; i += kThreads) {
    const int k = i / kColumns, v = i % kColumns;
    s_state[k][v] = first == nullptr ? 0.f : first[(doc_head * K + k) * V + column0 + v];
  }
  __syncthreads();
  // Thread: row `row` of the state, 16 columns.
  constexpr int kOwn = 16;
  const int row = tid % 128, own0 = tid / 128 * kOwn;
  for (int i = 0; i < end - begin; ++i) {
    const int segment = kReverse ? end - 1 - i : begin + i;
    const int64_t segment_head = static_cast<int64_t>(segment) * a.value_heads + hv;
    for (int j = tid; j < K * kColumns; j += kThreads) {
      states[(segment_head * K + j / kColumns) * V + column0 + j % kColumns] =
          s_state[j / kColumns][j % kColumns];
    }
    if (i == end - begin - 1) break;
    const float* phi = a.transitions + segment_head * K * K;
    float sum[kOwn] = {};
    for (int inner0 = 0; inner0 < K; inner0 += kInner) {
      __syncthreads();
      for (int j = tid; j < K * kInner; j += kThreads) {
        if constexpr (kReverse) {  // s_phi[k][j] = Phi[inner0 + j][k]
          s_phi[j % K][j / K] = phi[(inner0 + j / K) * K + j % K];
        } else {
          s_phi[j / kInner][j % kInner] = phi[j / kInner * K + inner0 + j % kInner];
        }
      }
      __syncthreads();
      if (row < K) {
#pragma unroll 4
        for (int j = 0; j < kInner; ++j) {
          const float factor = s_phi[row][j];
#pragma unroll
          for (int n = 0; n < kOwn; ++n) {
            sum[n] = fmaf(factor, s_state[inner0 + j][own0 + n], sum[n]);
          }
        }
      }
    }
    __syncthreads();
    if (row < K) {
      const float* e = ends + (segment_head * K + row) * V + column0 + own0;
#pragma unroll
      for (int n = 0; n < kOwn; ++n) s_state[row][own0 + n] = sum[n] + e[n];
    }
    __syncthreads();
  }
}

template <bool kReverse>
void Combine(const Args& args, const float* first, const float* ends, float* states,
             cudaStream_t stream) {
  const unsigned blocks =
      static_cast<unsigned>(args.num_docs * args.value_heads * (args.value_dim / kColumns));
  CombineKernel<kReverse><<<blocks, kThreads, 0, stream>>>(args, first, ends, states);
  CUDA_CHECK_LAUNCH();
}

Buffer Ends(const Args& args) {
  return Buffer(Device::kCuda, static_cast<size_t>(args.num_segments) * args.value_heads *
                                   args.key_dim * args.value_dim * sizeof(float));
}

}  // namespace

void ListSegments(const Args& args, Segment* segments, cudaStream_t stream) {
  ListSegmentsKernel<<<1, 1, 0, stream>>>(args.doc_chunks, args.num_docs, args.segment_chunks,
                                          segments);
  CUDA_CHECK_LAUNCH();
}

void EnterSegments(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  const Buffer ends = Ends(args);
  SegmentScan(args, in, ends.as<float>(), stream);
  Combine<false>(args, in.h0, ends.as<float>(), args.segment_states, stream);
}

void LeaveSegments(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                   const float* d_ht, cudaStream_t stream) {
  const Buffer ends = Ends(args);
  SegmentScanBackward(args, in, d_o, ends.as<float>(), stream);
  Combine<true>(args, d_ht, ends.as<float>(), args.segment_d_states, stream);
}

}  // namespace wyvern::sm90
