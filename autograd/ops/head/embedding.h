#ifndef WYVERN_AUTOGRAD_OPS_HEAD_EMBEDDING_H_
#define WYVERN_AUTOGRAD_OPS_HEAD_EMBEDDING_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// Rows of a table: y[t] = weight[ids[t]]; see kernels/head/embedding.h.
struct Embedding {
  static constexpr const char* kName = "embedding";
  static constexpr WorkClass kClass = WorkClass::kEmbedding;
  template <class T>
  struct Inputs {
    T weight;  // [V, D]
    FIELDS(weight)
  };
  static constexpr Role kInputRoles[] = {Role::kIo};
  template <class T>
  struct Outputs {
    T y;  // [T, D]
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    Tensor ids;               // [T] int32, each in [0, V)
    int64_t padding_id = -1;  // this row gets no gradient; -1: none

    void MoveTo(Device device) { ids = ids.To(device); }
  };
  struct Saved {
    Params params;
    Tensor weight;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<Embedding>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<Embedding>> BenchCaseOf(const BenchShape& shape);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_HEAD_EMBEDDING_H_
