#ifndef WYVERN_AUTOGRAD_OPS_MOE_MOE_ROUTE_H_
#define WYVERN_AUTOGRAD_OPS_MOE_MOE_ROUTE_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"
#include "kernels/moe/moe_route.h"

namespace wyvern {

// The experts of each token, their weights, and the plan of their rows; equations in
// kernels/moe/moe_route.h and expert_plan.h.
struct MoeRoute {
  static constexpr const char* kName = "moe_route";
  static constexpr WorkClass kClass = WorkClass::kRouting;
  static constexpr bool kOverwrites = true;
  template <class T>
  struct Inputs {
    T x;       // [T, D]
    T weight;  // [E, D]
    FIELDS(x, weight)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kAcc};
  template <class T>
  struct Outputs {
    T weights;   // [T, k]
    T scores;    // [T, E]
    T indices;   // [T, k]
    T offsets;   // [E + 1]
    T position;  // [T k]
    T source;    // [T k]
    FIELDS(weights, scores, indices, offsets, position, source)
  };
  static constexpr Role kOutputRoles[] = {Role::kAcc,   Role::kAcc,   Role::kIndex,
                                          Role::kIndex, Role::kIndex, Role::kIndex};
  struct Params {
    int64_t experts_per_token = 1;
    int64_t num_groups = 1, top_groups = 1;
    RouterScore score = RouterScore::kSigmoid;
    bool renormalize = true;
    double scale = 1;
    Tensor bias;  // [E] Acc, added to the scores for the choice alone; optional

    void MoveTo(Device device) {
      if (bias.defined()) bias = bias.To(device);
    }
  };
  struct Saved {
    MoeRouteShape shape;
    Tensor x, weight, scores, indices, weights;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<MoeRoute>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<MoeRoute>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_MOE_MOE_ROUTE_H_
