#ifndef WYVERN_AUTOGRAD_OPS_ATTENTION_LATENT_ATTENTION_H_
#define WYVERN_AUTOGRAD_OPS_ATTENTION_LATENT_ATTENTION_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// Multi-head latent attention of one document's last tokens over its latent vectors, in the
// absorbed form; equations in kernels/attention/latent_attention.h. It equals attention over the
// keys and values that the weight makes of them, and its backward is that attention's.
struct LatentAttention {
  static constexpr const char* kName = "latent_attention";
  static constexpr WorkClass kClass = WorkClass::kAttention;
  template <class T>
  struct Inputs {
    T q;       // [T, H, P + R]; may be columns
    T latent;  // [Tk, L + R], Tk >= T where there is one document
    T weight;  // [H P + H V, L]: key rows of all heads, then value rows
    FIELDS(q, latent, weight)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo, Role::kIo};
  static constexpr bool kReadsColumns[] = {true, false, false};
  template <class T>
  struct Outputs {
    T o;  // [T, H, V]
    FIELDS(o)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    int64_t value_dim = 0;  // V
    double scale = 0;       // 0: (P + R)^-1/2
    // Where defined (forward alone), q has one query of each of T documents, whose keys are the
    // rows of `latent` from key_begins to key_ends. The op reads the tensors when it runs; the
    // host's numbers count for the cost alone.
    Tensor key_begins, key_ends;  // [T] int32 on the op's device
    std::vector<int32_t> key_begins_host, key_ends_host;

    void MoveTo(Device device) {
      key_begins = key_begins.To(device);
      key_ends = key_ends.To(device);
    }
  };
  struct Saved {
    Inputs<Tensor> in;
    Params params;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<LatentAttention>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<LatentAttention>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_ATTENTION_LATENT_ATTENTION_H_
