// Entries of the Hopper path: buffers and the order of its passes.
#include "kernels/delta_rule/sm90/passes.cuh"

namespace wyvern::sm90 {
namespace {

using delta::Arena;

bool Aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Places what the backward reads again, one array after another.
void Place(Args& a, const DeltaWorkspace& kept, unsigned char* memory) {
  a.ut = reinterpret_cast<Bf16*>(memory);
  a.p = reinterpret_cast<Bf16*>(memory + kept.square_bytes());
  a.rows = reinterpret_cast<float*>(memory + 2 * kept.square_bytes());
  float* const behind_rows = a.rows + kept.rows_bytes() / 4;
  a.chunk_decay = kept.has_decay ? behind_rows : nullptr;
  a.segment_states = behind_rows + kept.decay_bytes() / 4;
  a.transitions = a.segment_states + kept.segment_state_bytes() / 4;
}

int64_t NumSms() {
  static const int64_t num_sms = CurrentGpu().num_sms;
  return num_sms;
}

Args MakeArgs(const GatedDeltaRuleInputs<Bf16>& in, const void* workspace, Arena& arena,
              cudaStream_t stream) {
  CHECK(in.num_value_heads % in.num_heads == 0, "gated_delta_rule: value heads ",
        in.num_value_heads, " are no multiple of heads ", in.num_heads);
  Args a;
  a.num_docs = static_cast<int>(in.num_docs);
  a.num_chunks = static_cast<int>(CountDeltaChunks(in));
  a.num_tokens = in.num_tokens;
  a.heads = static_cast<int>(in.num_heads);
  a.value_heads = static_cast<int>(in.num_value_heads);
  a.group = a.value_heads / a.heads;
  a.key_dim = static_cast<int>(in.key_dim);
  a.value_dim = static_cast<int>(in.value_dim);
  a.decay = in.decay;
  a.scale = static_cast<float>(in.scale);
  int* doc_chunks = nullptr;
  Chunk* chunks = nullptr;
  arena.Allocate(doc_chunks, a.num_docs + 1);
  arena.Allocate(chunks, a.num_chunks);
  delta::ListChunks(in.cu_seqlens, a.num_docs, a.num_chunks, doc_chunks, chunks, stream);
  a.doc_chunks = doc_chunks;
  a.chunks = chunks;
  const DeltaSegmentPlan plan = PlanDeltaSegments(in, NumSms());
  if (plan.num_segments > 0) {
    a.num_segments = plan.num_segments;
    a.segment_chunks = plan.segment_chunks;
    Segment* segments = nullptr;
    arena.Allocate(segments, a.num_segments);
    ListSegments(a, segments, stream);
    a.segments = segments;
  }
  const DeltaWorkspace kept = DeltaWorkspaceOf(in, NumSms());
  // The backward only reads what the forward kept; passes take it as they take their own buffers.
  unsigned char* memory = static_cast<unsigned char*>(const_cast<void*>(workspace));
  if (memory == nullptr) arena.Allocate(memory, kept.bytes());
  Place(a, kept, memory);
  if (a.decay == DeltaDecay::kPerChannel) {
    const int64_t count = a.num_tokens * a.value_heads * a.key_dim;
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

bool Serves(const GatedDeltaRuleInputs<Bf16>& in) {
  static const bool hopper = [] {
    const GpuInfo gpu = CurrentGpu();
    return gpu.major == 9 && gpu.minor == 0;
  }();
  return hopper && (in.key_dim == 64 || in.key_dim == 128) &&
         (in.value_dim == 64 || in.value_dim == 128 || in.value_dim == 256) && Aligned(in.q) &&
         Aligned(in.k) && Aligned(in.v) && Aligned(in.gate);
}

size_t WorkspaceBytes(const GatedDeltaRuleInputs<Bf16>& in) {
  return static_cast<size_t>(DeltaWorkspaceOf(in, NumSms()).bytes());
}

void Forward(const GatedDeltaRuleFwdParams<Bf16>& p, cudaStream_t stream) {
  Arena arena;
  const Args a = MakeArgs(p.in, p.workspace, arena, stream);
  MakeChunks(a, p.in, /*kept=*/false, stream);
  OutputScan(a, p.in, p.o, p.ht, stream);
}

void Backward(const GatedDeltaRuleBwdParams<Bf16>& p, cudaStream_t stream) {
  Arena arena;
  Args a = MakeArgs(p.in, p.workspace, arena, stream);
  MakeChunks(a, p.in, /*kept=*/p.workspace != nullptr, stream);
  const int64_t token_heads = a.num_tokens * a.value_heads;
  const int64_t values = token_heads * a.value_dim;
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
  if (a.decay == DeltaDecay::kPerChannel) {
    return ChunkGradChannels(a, p.in, d_o, p.dq, p.dk, p.d_beta, p.d_gate, p.d_a_log, p.d_dt_bias,
                             stream);
  }
  ChunkGradHeads(a, p.in, d_o, p.dq, p.dk, p.d_beta, p.d_gate, p.d_a_log, p.d_dt_bias, stream);
}

}  // namespace wyvern::sm90
