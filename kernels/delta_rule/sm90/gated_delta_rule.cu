// Entries of the Hopper path: buffers and the order of its passes.
#include "kernels/delta_rule/sm90/passes.cuh"

namespace wyvern::sm90 {
namespace {

bool Aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Places what the backward reads again, one array after another.
void Place(Args& a, const Sm90DeltaWorkspace& kept, unsigned char* memory) {
  a.ut = reinterpret_cast<Bf16*>(memory);
  a.p = reinterpret_cast<Bf16*>(memory + kept.square_bytes);
  a.rows = reinterpret_cast<float*>(memory + 2 * kept.square_bytes);
  float* const behind_rows = a.rows + kept.rows_bytes / 4;
  a.chunk_decay = a.decay == DeltaDecay::kNone ? nullptr : behind_rows;
  a.segment_states = behind_rows + kept.decay_bytes / 4;
  a.transitions = a.segment_states + kept.segment_state_bytes / 4;
}

Args MakeArgs(const GatedDeltaRuleInputs<Bf16>& in, const DeltaRulePlan& plan, const GpuInfo& gpu,
              const void* workspace, Arena& arena, cudaStream_t stream) {
  Args a;
  delta::SetChunks(in, plan, arena, stream, &a);
  a.num_sms = gpu.num_sms;
  a.scan_groups = static_cast<int>(plan.scan_columns / kTile);
  if (plan.num_segments > 0) {
    a.num_segments = static_cast<int>(plan.num_segments);
    a.segment_chunks = static_cast<int>(plan.segment_chunks);
    Segment* segments = nullptr;
    arena.Allocate(segments, a.num_segments);
    ListSegments(a, segments, stream);
    a.segments = segments;
  }
  // The backward only reads what the forward kept; passes take it as they take their own buffers.
  unsigned char* memory = static_cast<unsigned char*>(const_cast<void*>(workspace));
  if (memory == nullptr) arena.Allocate(memory, plan.workspace_bytes);
  Place(a, plan.kept, memory);
  if (a.decay == DeltaDecay::kPerChannel) {
    const int64_t count = a.token_heads() * a.key_dim;
    arena.Allocate(a.q_operand, count);
    arena.Allocate(a.k_operand, count);
    arena.Allocate(a.k_bar, count);
  }
  return a;
}

// Everything that does not depend on the direction. `kept`: the workspace is filled already.
void MakeChunks(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, bool kept,
                cudaStream_t stream) {
  if (a.num_chunks == 0) return;
  if (a.decay == DeltaDecay::kPerChannel) {
    kept ? ChannelOperands(a, in, stream) : WyChannels(a, in, stream);
  } else if (!kept) {
    WyHeads(a, in, stream);
  }
  if (a.segments != nullptr && !kept) EnterSegments(a, in, stream);
}

}  // namespace

void Forward(const GatedDeltaRuleFwdParams<Bf16>& p, const DeltaRulePlan& plan, const GpuInfo& gpu,
             cudaStream_t stream) {
  Arena arena;
  const Args a = MakeArgs(p.in, plan, gpu, p.workspace, arena, stream);
  MakeChunks(a, p.in, /*kept=*/false, stream);
  OutputScan(a, p.in, p.o, p.ht, stream);
}

void Backward(const GatedDeltaRuleBwdParams<Bf16>& p, const DeltaRulePlan& plan, const GpuInfo& gpu,
              cudaStream_t stream) {
  Arena arena;
  Args a = MakeArgs(p.in, plan, gpu, p.workspace, arena, stream);
  MakeChunks(a, p.in, /*kept=*/p.workspace != nullptr, stream);
  const int64_t values = a.token_heads() * a.value_dim;
  const Bf16* d_o = p.d_o;
  if (d_o == nullptr || !Aligned(d_o)) {
    Bf16* copy = nullptr;
    arena.Allocate(copy, values);
    if (d_o == nullptr) {
      CUDA_CHECK(cudaMemsetAsync(copy, 0, values * sizeof(Bf16), stream));
    } else {
      CUDA_CHECK(cudaMemcpyAsync(copy, d_o, values * sizeof(Bf16), cudaMemcpyDefault, stream));
    }
    d_o = copy;
  }
  arena.Allocate(a.states, a.chunk_heads() * a.key_dim * a.value_dim);
  arena.Allocate(a.e, values);
  StateScan(a, p.in, stream);
  arena.Allocate(a.d_states, a.chunk_heads() * a.key_dim * a.value_dim);
  a.dv = p.dv;
  if (a.dv == nullptr) arena.Allocate(a.dv, values);
  if (a.segments != nullptr) {
    arena.Allocate(a.segment_d_states,
                   static_cast<int64_t>(a.num_segments) * a.value_heads * a.key_dim * a.value_dim);
    LeaveSegments(a, p.in, d_o, p.d_ht, stream);
  }
  StateScanBackward(a, p.in, d_o, p.d_ht, p.d_h0, stream);
  if (a.num_chunks == 0) {  // no tokens: sums over them are zeros
    if (a.decay != DeltaDecay::kNone) {
      delta::GateGradients<Bf16>(p.in, nullptr, 1, nullptr, p.d_a_log, p.d_dt_bias, stream);
    }
    return;
  }
  const ChunkGrads grads = {.dq = p.dq,
                            .dk = p.dk,
                            .d_beta = p.d_beta,
                            .d_gate = p.d_gate,
                            .d_a_log = p.d_a_log,
                            .d_dt_bias = p.d_dt_bias};
  if (a.decay == DeltaDecay::kPerChannel) return ChunkGradChannels(a, p.in, d_o, grads, stream);
  ChunkGradHeads(a, p.in, d_o, grads, stream);
}

}  // namespace wyvern::sm90
