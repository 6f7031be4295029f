#ifndef WYVERN_AUTOGRAD_OPS_ATTENTION_ATTENTION_H_
#define WYVERN_AUTOGRAD_OPS_ATTENTION_ATTENTION_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"
#include "kernels/attention/attention.h"

namespace wyvern {

// Causal softmax attention, full or over a sliding window, with grouped query heads; see
// kernels/attention/attention.h. Query head j reads key head j / (H / HK).
struct Attention {
  static constexpr const char* kName = "attention";
  static constexpr WorkClass kClass = WorkClass::kAttention;
  template <class T>
  struct Inputs {
    T q;  // [Tq, H, D]; all may be columns
    T k;  // [Tk, HK, D]
    T v;  // [Tk, HK, DV]
    FIELDS(q, k, v)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo, Role::kIo};
  static constexpr bool kReadsColumns[] = {true, true, true};
  template <class T>
  struct Outputs {
    T o;          // [Tq, H, DV]
    T max_logit;  // [H] the largest scaled score of each query head, if asked for; no gradient
    FIELDS(o, max_logit)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo, Role::kAcc};
  struct Params {
    Tensor cu_seqlens_q;  // [N + 1] int32 on the op's device: documents among the queries
    Tensor cu_seqlens_k;  // [N + 1] likewise among the keys; undefined: the same as the queries'
    std::vector<int32_t> cu_seqlens_q_host, cu_seqlens_k_host;  // the same on the host
    // Where defined (forward alone), the keys of document n are those from cu_seqlens_k[n] to
    // key_ends[n], anywhere among all, and cu_seqlens_k is [N] too. On CUDA the op reads the
    // tensors when it runs; the host's numbers then count for the cost alone.
    Tensor key_ends;  // [N]
    std::vector<int32_t> key_ends_host;
    // The queries of a document are its last ones: with fewer queries than keys (decoding), query i
    // of nq stands at key position i + nk - nq.
    int64_t window = 0;  // keys i - window < j <= i are seen; 0: all j <= i
    double scale = 0;    // 0: D^-1/2
    bool want_max_logit = false;
    bool forward_only = false;  // no backward follows

    void MoveTo(Device device) {
      cu_seqlens_q = cu_seqlens_q.To(device);
      cu_seqlens_k = cu_seqlens_k.To(device);
      key_ends = key_ends.To(device);
    }
  };
  struct Saved {
    Inputs<Tensor> in;
    Params params;
    Tensor o, lse;  // [Tq, H, DV]; [Tq, H] Acc
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  // The same of a shape whose tensors do not exist yet.
  static Cost EstimateCost(const AttentionShape& shape, DType io);
  static std::vector<OpCase<Attention>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<Attention>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_ATTENTION_ATTENTION_H_
