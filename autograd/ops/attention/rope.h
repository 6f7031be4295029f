#ifndef WYVERN_AUTOGRAD_OPS_ATTENTION_ROPE_H_
#define WYVERN_AUTOGRAD_OPS_ATTENTION_ROPE_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// Rotary position embedding on halves ("NeoX" order, arXiv 2104.09864); see
// kernels/attention/rope.h.
struct Rope {
  static constexpr const char* kName = "rope";
  static constexpr WorkClass kClass = WorkClass::kPointwise;
  template <class T>
  struct Inputs {
    T x;  // [T, H, D]
    FIELDS(x)
  };
  static constexpr Role kInputRoles[] = {Role::kIo};
  static constexpr bool kReadsColumns[] = {true};
  template <class T>
  struct Outputs {
    T y;  // like x
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    Tensor positions;          // [T] int32, position inside its document
    double theta = 10000;      // base
    int64_t rotary_begin = 0;  // first dim that rotates
    int64_t rotary_dim = 0;    // dims that rotate, even; 0: all from the first one on
    bool in_place = false;     // y is x's memory: for values of x that nothing else reads

    void MoveTo(Device device) { positions = positions.To(device); }
  };
  struct Saved {
    Params params;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<Rope>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<Rope>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_ATTENTION_ROPE_H_
