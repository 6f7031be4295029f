// Chunks, their arguments and the buffers of a call, which the chunkwise paths cuda/ and sm90/
// share. Internal to this family.
#pragma once

#include <vector>

#include "kernels/common/tile_mma.cuh"
#include "kernels/delta_rule/plan.h"
#include "kernels/runtime/allocator.h"

namespace wyvern::delta {

constexpr int kChunk = kTile;
static_assert(kChunk == kDeltaChunk);
constexpr float kMinLogDecay = -20.f;  // exp(-20) is below fp32 resolution of a unit key product

// |beta| is taken as at least this, so that e / beta exists and stands for r - M e without
// cancellation; far below what moves a state. The Hopper path holds dv = beta y and divides by beta
// twice: the square of its floor, times gradients, must stay far from fp32's smallest number.
constexpr float kMinBeta = 1e-18f;
constexpr float kMinBetaSm90 = 1e-9f;

struct Chunk {
  int first, rows, doc, unused;  // first token, 1 .. 64 rows
};

// Sizes and buffers of one application, of which each path adds its own. NC chunks. Kp and Vp are
// the dims of the path's buffers: padded with zeros in cuda/, K and V in sm90/, which holds states
// transposed.
template <typename T>
struct ChunkArgs {
  int num_docs = 0, num_chunks = 0;
  int64_t num_tokens = 0;
  int heads = 0, value_heads = 0, group = 0;  // group = value_heads / heads
  int key_dim = 0, value_dim = 0;
  DeltaDecay decay = DeltaDecay::kNone;
  float scale = 1;

  const int* doc_chunks = nullptr;  // [N + 1] first chunk of each document
  const Chunk* chunks = nullptr;    // [NC]
  // With a decay per channel what multiplies states and value rows, [T, HV, Kp]: r e^G q, e^G k and
  // kbar; the keys times r in sm90/.
  T *q_operand = nullptr, *k_operand = nullptr, *k_bar = nullptr;
  float* chunk_decay = nullptr;  // [NC, HV, Kp] e^{G_C}
  T* p = nullptr;                // [NC, HV, 64, 64] P
  T* states = nullptr;           // [NC, HV, Kp, Vp] S entering the chunk
  T* e = nullptr;                // [T, HV, Vp]
  T* d_states = nullptr;         // [NC, HV, Kp, Vp] dS+ leaving the chunk

  __host__ __device__ int64_t chunk_heads() const {
    return static_cast<int64_t>(num_chunks) * value_heads;
  }
  __host__ __device__ int64_t token_heads() const { return num_tokens * value_heads; }
};

// The buffers of one call.
class Arena {
 public:
  template <typename U>
  void Allocate(U*& pointer, int64_t count) {
    buffers_.emplace_back(Device::kCuda, static_cast<size_t>(count) * sizeof(U));
    pointer = buffers_.back().template as<U>();
  }

 private:
  std::vector<Buffer> buffers_;
};

// doc_chunks [N + 1] and chunks [num_chunks] of packed documents, from cu_seqlens on the device.
void ListChunks(const int* cu_seqlens, int num_docs, int num_chunks, int* doc_chunks, Chunk* chunks,
                cudaStream_t stream);

// Fills the sizes and the table of chunks of `args`.
template <typename T>
void SetChunks(const GatedDeltaRuleInputs<T>& in, const DeltaRulePlan& plan, Arena& arena,
               cudaStream_t stream, ChunkArgs<T>* args) {
  constexpr int64_t kMaxDim = 256;
  CHECK(in.key_dim >= 1 && in.key_dim <= kMaxDim && in.value_dim >= 1 && in.value_dim <= kMaxDim,
        "gated_delta_rule: head dims 1 .. 256 on CUDA, got K ", in.key_dim, ", V ", in.value_dim);
  CHECK(in.num_value_heads % in.num_heads == 0, "gated_delta_rule: value heads ",
        in.num_value_heads, " are no multiple of heads ", in.num_heads);
  args->num_docs = static_cast<int>(in.num_docs);
  args->num_chunks = static_cast<int>(plan.num_chunks);
  args->num_tokens = in.num_tokens;
  args->heads = static_cast<int>(in.num_heads);
  args->value_heads = static_cast<int>(in.num_value_heads);
  args->group = args->value_heads / args->heads;
  args->key_dim = static_cast<int>(in.key_dim);
  args->value_dim = static_cast<int>(in.value_dim);
  args->decay = in.decay;
  args->scale = static_cast<float>(in.scale);
  int* doc_chunks = nullptr;
  Chunk* chunks = nullptr;
  arena.Allocate(doc_chunks, args->num_docs + 1);
  arena.Allocate(chunks, args->num_chunks);
  ListChunks(in.cu_seqlens, args->num_docs, args->num_chunks, doc_chunks, chunks, stream);
  args->doc_chunks = doc_chunks;
  args->chunks = chunks;
}

// A kernel may use `bytes` of dynamic shared memory.
template <class Kernel>
void AllowSharedMemory(Kernel* kernel, size_t bytes) {
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes)));
}

// Gradients of the gate's inputs (each may be null) from dg, that of each step's log decay, whose
// heads are padded to `padded_channels`.
template <typename T>
void GateGradients(const GatedDeltaRuleInputs<T>& in, const float* dg, int padded_channels,
                   T* d_gate, float* d_a_log, float* d_dt_bias, cudaStream_t stream);

}  // namespace wyvern::delta
