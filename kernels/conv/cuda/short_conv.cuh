// Code that the two directions of the short convolution share (kernels/conv/short_conv.h).
//
// A thread walks a tile of tokens for N channels with the last taps in registers. Batches of tokens
// come through its own slots of shared memory, filled while it works on earlier ones. A batch that
// lies inside a document, and whose results all belong to the tile, takes a path without questions.
#pragma once

#include "kernels/common/vector.cuh"
#include "kernels/conv/short_conv.h"
#include "kernels/conv/short_conv_plan.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern::short_conv {

constexpr int kThreads = kShortConvThreads;
constexpr int kBatch =
    kShortConvBatch;        // a multiple of the usual taps, so that windows do not move
constexpr int kStages = 3;  // batches in shared memory: one at work, the others on their way

// The document of a token that moves forward.
struct Cursor {
  const int32_t* cu_seqlens;
  int num_documents, n, begin, end;

  template <typename Params>
  __device__ Cursor(const Params& p, int t)
      : cu_seqlens(p.cu_seqlens), num_documents(static_cast<int>(p.num_documents)) {
    int low = 0, high = num_documents - 1;  // the last document that starts at or before t
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (cu_seqlens[middle] <= t) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    n = low;
    begin = cu_seqlens[n];
    end = cu_seqlens[n + 1];
  }

  // Returns whether t lies in another document than the last one asked for.
  __device__ __forceinline__ bool MoveTo(int t) {
    if (t < end || n + 1 >= num_documents) return false;
    do {
      ++n;
      end = cu_seqlens[n + 1];
    } while (t >= end && n + 1 < num_documents);
    begin = cu_seqlens[n];
    return true;
  }
};

// The kTaps >= W newest rows of e at N channels from channel i; taps beyond W have weight 0.
template <int N, int kTaps, typename Io>
struct Window {
  float e[kTaps][N];
  float weight[kTaps][N];

  template <typename Params>
  __device__ __forceinline__ void LoadWeight(const Params& p, int64_t i) {
    const int width = static_cast<int>(p.width);
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
      const int tap = k - (kTaps - width);
#pragma unroll
      for (int c = 0; c < N; ++c) weight[k][c] = tap < 0 ? 0.f : p.weight[(i + c) * width + tap];
    }
  }

  // Fills in the rows before token t, so that Push(x_t) completes the window.
  template <typename Params>
  __device__ __forceinline__ void LoadHistory(const Params& p, const Cursor& at, int t, int64_t i) {
#pragma unroll
    for (int k = 1; k < kTaps; ++k) {
      const int back = kTaps - k, position = t - at.begin - back;
#pragma unroll
      for (int c = 0; c < N; ++c) e[k][c] = 0;
      if (back >= p.width) continue;
      if (position >= 0) {
        LoadFloats(p.x + (t - back) * p.x_stride + i, e[k]);
      } else if (p.initial_state != nullptr) {
        const int64_t row = at.n * (p.width - 1) + p.width - 1 + position;
        LoadFloats(p.initial_state + row * p.dim + i, e[k]);
      }
    }
  }

  __device__ __forceinline__ void Push(const float (&x)[N]) {
#pragma unroll
    for (int c = 0; c < N; ++c) {
#pragma unroll
      for (int k = 0; k + 1 < kTaps; ++k) e[k][c] = e[k + 1][c];
      e[kTaps - 1][c] = x[c];
    }
  }

  __device__ __forceinline__ float Convolve(int c) const {
    float u = weight[0][c] * e[0][c];
#pragma unroll
    for (int k = 1; k < kTaps; ++k) u += weight[k][c] * e[k][c];
    return u;
  }
};

// Channels of the part that holds channel i.
template <typename T>
struct Part {
  T* data;  // of its channel i and token 0, or null
  int64_t stride;

  __device__ Part(const ShortConvParts<T>& parts, int64_t i) {
    int j = 0;
    while (j + 1 < parts.num && i >= parts.begin[j + 1]) ++j;
    stride = parts.begin[j + 1] - parts.begin[j];
    data = parts.data[j] == nullptr ? nullptr : parts.data[j] + (i - parts.begin[j]);
  }
};

// Starts to copy one access of a thread from global to shared memory; zeros if not valid.
template <typename V>
__device__ __forceinline__ void CopyAsync(V* shared, const void* global, bool valid) {
  if constexpr (sizeof(V) >= 4) {
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    const int bytes = valid ? static_cast<int>(sizeof(V)) : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(address), "l"(global),
                 "n"(sizeof(V)), "r"(bytes)
                 : "memory");
  } else {
    *shared = valid ? *static_cast<const V*>(global) : V{};
  }
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WaitCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// Whether accesses of `width` elements stay inside rows and parts and begin at aligned addresses.
template <typename Params, typename T>
bool Vectorises(const Params& p, const ShortConvParts<T>& parts, int64_t strides, int width) {
  int64_t all = p.dim | strides;
  bool aligned = Aligned16(p.x, p.initial_state);
  for (int j = 0; j < parts.num; ++j) {
    all |= parts.begin[j + 1];
    aligned = aligned && Aligned16(parts.data[j]);
  }
  return aligned && all % width == 0;
}

// fn takes N and the number of taps as integral_constants.
template <int kWidth, typename Params, typename F>
void VisitShape(const Params& p, bool vectorise, F&& fn) {
  const auto with_taps = [&](auto n) {
    if (p.width <= 4) return fn(n, std::integral_constant<int, 4>());
    fn(n, std::integral_constant<int, kMaxShortConvWidth>());
  };
  if (vectorise) return with_taps(std::integral_constant<int, kWidth>());
  with_taps(std::integral_constant<int, 1>());
}

// The driver's facts of a kernel; it takes long to ask.
template <typename Kernel>
int BlocksPerSm(Kernel kernel) {
  int blocks = 0;
  CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kThreads, 0));
  return blocks;
}

inline ShortConvPlan Choose(const ShortConvDesc& desc) {
  const ShortConvPlan plan = ChooseShortConv(desc, CurrentGpu());
  NotePlan("short_conv", plan);
  return plan;
}

inline dim3 GridOf(const ShortConvPlan& plan) {
  return dim3(static_cast<unsigned>(plan.num_tiles), static_cast<unsigned>(plan.across));
}

inline unsigned Blocks(int64_t num_elements) {
  return static_cast<unsigned>(CeilDiv<int64_t>(num_elements, kThreads));
}

// Element i of row j of e of document n.
template <typename Io, typename Params>
__device__ float HistoryAt(const Params& p, int64_t n, int64_t j, int64_t i) {
  const int64_t history = p.width - 1;
  if (j >= history) return ToFloatDevice(p.x[(p.cu_seqlens[n] + j - history) * p.x_stride + i]);
  return p.initial_state == nullptr ? 0.f
                                    : ToFloatDevice(p.initial_state[(n * history + j) * p.dim + i]);
}

}  // namespace wyvern::short_conv
