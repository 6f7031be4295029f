#ifndef WYVERN_AUTOGRAD_OPS_HEAD_LINEAR_CROSS_ENTROPY_H_
#define WYVERN_AUTOGRAD_OPS_HEAD_LINEAR_CROSS_ENTROPY_H_

#include "autograd/check/op_case.h"
#include "autograd/tape.h"

namespace wyvern {

// The vocabulary head and its cross-entropy, computed in slices of rows so that the logits of all
// tokens never exist at once. See kernels/head/linear_cross_entropy.h.
//
// A forward that will be differentiated also multiplies out the wanted gradients for d_loss = 1
// while it has the logits; the backward scales them. It collects the d_logits of a group of slices
// for that, since each matmul that adds to d_weight reads and writes the whole of it. A gradient
// of token_loss cannot be had that way: where one arrives, the backward recomputes the logits.
//
//   token_loss[t] = logsumexp(x_t W^T) - (x_t W^T)[target_t], 0 where target_t < 0
//   loss          = sum_t token_loss[t] / denominator
struct LinearCrossEntropy {
  static constexpr const char* kName = "linear_cross_entropy";
  static constexpr WorkClass kClass = WorkClass::kHead;
  static constexpr bool kOverwrites = true;
  template <class T>
  struct Inputs {
    T x;       // [T, D]
    T weight;  // [V, D]
    FIELDS(x, weight)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo};
  template <class T>
  struct Outputs {
    T loss;        // [1]
    T token_loss;  // [T]
    FIELDS(loss, token_loss)
  };
  static constexpr Role kOutputRoles[] = {Role::kAcc, Role::kAcc};
  struct Params {
    Tensor targets;          // [T] int32; negative: not counted
    double denominator = 1;  // usually the number of counted targets of the whole step
    // Rows whose logits exist at once; 0: as many as 512 MiB hold (on the CPU 16 MiB).
    int64_t slice_rows = 0;
    // Rows, at least those of a slice, whose d_logits exist at once; 0: as many whole slices as
    // take no more memory than d_weight, up to 4,608 rows.
    int64_t group_rows = 0;

    void MoveTo(Device device) { targets = targets.To(device); }
  };
  struct Saved {
    Inputs<Tensor> in;
    Params params;
    Inputs<bool> wanted = {};  // filled in before the forward
    Tensor lse;                // [T] Acc
    // For d_loss = 1; undefined where not wanted.
    Tensor d_x;       // [T, D] Io
    Tensor d_weight;  // [V, D] Acc
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  // The matmuls of the wanted gradients count as forward, where they are made.
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params,
                           const Inputs<bool>& wanted);
  static std::vector<OpCase<LinearCrossEntropy>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<LinearCrossEntropy>> BenchCaseOf(const BenchShape& shape);
};

// The bytes that the slices and groups of x [num_rows, width] hold beside inputs and outputs, with
// gradients.
int64_t LinearCrossEntropySliceBytes(int64_t num_rows, int64_t vocab, int64_t width, DType io,
                                     Device device);

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_HEAD_LINEAR_CROSS_ENTROPY_H_
