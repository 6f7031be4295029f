// Rows of tokens that go to the ranks that have their experts, and back (expert parallelism).
#ifndef WYVERN_AUTOGRAD_PARALLEL_EXPERT_EXCHANGE_H_
#define WYVERN_AUTOGRAD_PARALLEL_EXPERT_EXCHANGE_H_

#include <memory>
#include <vector>

#include "autograd/check/op_case.h"
#include "autograd/ops/moe/expert_plan.h"
#include "autograd/tape.h"
#include "kernels/comm/communicator.h"

namespace wyvern {

// Which rows go where, of one layer and batch. Rank r of a group of G has the experts
// [r E / G, (r + 1) E / G). Any number of rows may go to any rank. All ranks of the group make the
// same calls; this one waits for the device, since the host sends messages by their sizes.
class ExpertExchange {
 public:
  // `offsets` [E + 1] of the plan of this rank's `num_rows` rows, which are sorted by expert. On
  // the meta device, which has routed nothing, they are taken to spread evenly, here and elsewhere.
  ExpertExchange(const Tensor& offsets, int64_t num_rows, Communicator* group);

  // The plan of the permuted tokens that have come here, over this rank's E / G experts. They come
  // in the order of the ranks, each rank's sorted by expert.
  const ExpertPlan& plan() const { return plan_; }

  // Starts to send x to the ranks of the experts, or `back` from there, and gives what comes; both
  // must stay until `pending`.
  Tensor Start(const Tensor& x, bool back, Pending* pending) const;

 private:
  Communicator* group_;
  std::vector<int64_t> sent_, received_;  // rows to and from each rank
  ExpertPlan plan_;
};

// y = x sent by an exchange; the gradient goes the other way.
struct ExchangeRows {
  static constexpr const char* kName = "exchange_rows";
  static constexpr WorkClass kClass = WorkClass::kRouting;
  template <class T>
  struct Inputs {
    T x;  // [rows here, D]
    FIELDS(x)
  };
  static constexpr Role kInputRoles[] = {Role::kIo};
  template <class T>
  struct Outputs {
    T y;  // [rows there, D]
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    std::shared_ptr<const ExpertExchange> exchange;
    bool back = false;
    // When given, the forward does not wait: the caller does, and holds x and y until then.
    std::shared_ptr<Pending> pending;
  };
  struct Saved {
    Params params;
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_PARALLEL_EXPERT_EXCHANGE_H_
