#ifndef WYVERN_AUTOGRAD_OPS_ATTENTION_MLA_KEYS_H_
#define WYVERN_AUTOGRAD_OPS_ATTENTION_MLA_KEYS_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// Keys of multi-head latent attention from each head's own part and the part that all heads share;
// equations in kernels/attention/mla_keys.h.
struct MlaKeys {
  static constexpr const char* kName = "mla_keys";
  static constexpr WorkClass kClass = WorkClass::kAttention;
  template <class T>
  struct Inputs {
    T own;     // [T, H, P]; both may be columns
    T shared;  // [T, R]
    FIELDS(own, shared)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo};
  static constexpr bool kReadsColumns[] = {true, true};
  template <class T>
  struct Outputs {
    T k;  // [T, H, P + R]
    FIELDS(k)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {};
  struct Saved {
    Shape own, shared;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<MlaKeys>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<MlaKeys>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_ATTENTION_MLA_KEYS_H_
