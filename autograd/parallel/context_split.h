// A sequence of packed tokens that is cut over the ranks of a CP group.
#ifndef WYVERN_AUTOGRAD_PARALLEL_CONTEXT_SPLIT_H_
#define WYVERN_AUTOGRAD_PARALLEL_CONTEXT_SPLIT_H_

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "autograd/tensor.h"
#include "kernels/comm/communicator.h"

namespace wyvern {

// The tensors that a queued operation reads and writes; their memory is freed after the operation
// at the earliest.
struct InFlight {
  InFlight(std::vector<Tensor> buffers_in, Pending pending_in)
      : buffers(std::move(buffers_in)), pending(std::move(pending_in)) {}
  ~InFlight() { pending.Wait(); }
  InFlight(InFlight&&) = default;
  InFlight& operator=(InFlight&&) = delete;

  std::vector<Tensor> buffers;
  Pending pending;
};

// Rank r of the group has the tokens [begins[r], begins[r + 1]) of the stream, which may be none. A
// document that has tokens on several ranks crosses their boundaries: states, convolution tails,
// keys and values go from rank to rank there. Every rank knows the whole layout, so that ranks
// agree on what they exchange without asking.
class ContextSplit {
 public:
  // `cu_seqlens` [N + 1] of the whole stream; `begins` [C + 1] from 0 to its number of tokens, not
  // decreasing. `group` outlives this; tensors lie on its device.
  ContextSplit(const std::vector<int32_t>& cu_seqlens, std::vector<int64_t> begins,
               Communicator* group);
  ContextSplit(const ContextSplit&) = delete;
  ContextSplit& operator=(const ContextSplit&) = delete;

  // Parts whose sizes differ by one token at most.
  static std::vector<int64_t> EvenParts(int64_t num_tokens, int64_t num_ranks);

  struct Part {
    int64_t begin = 0, end = 0;
    int64_t before = 0;         // tokens of its first document on earlier ranks
    int64_t after = 0;          // tokens of its last document on later ranks
    bool one_document = false;  // it has tokens, all of one document

    int64_t size() const { return end - begin; }
    bool enters() const { return before > 0; }
    bool leaves() const { return after > 0; }
    bool spans() const { return one_document && enters() && leaves(); }
  };

  Communicator& group() const { return *group_; }
  int rank() const { return group_->rank(); }
  int size() const { return group_->size(); }
  const Part& part(int rank) const { return parts_[static_cast<size_t>(rank)]; }
  const Part& own() const { return part(rank()); }
  // Whether a document crosses any boundary.
  bool crossed() const { return crossed_; }

  // The other ranks that have tokens of this rank's first document before it, ascending; the first
  // of them has the document's beginning.
  std::vector<int> RanksBefore() const;
  // Those that have tokens of its last document behind it, ascending.
  std::vector<int> RanksAfter() const;

  // Documents that have tokens here, at their places here: [n + 1] from 0 to own().size().
  const std::vector<int32_t>& documents() const { return documents_; }

  // Offsets of documents, on the host and on the group's device.
  struct Offsets {
    std::vector<int32_t> host;
    Tensor device;
  };
  // The first and the last document here, each as the only one.
  const Offsets& first_document() const { return first_; }
  const Offsets& last_document() const { return last_; }
  // documents() with `num_rows` more tokens at the beginning of the first one.
  const Offsets& WithRowsBefore(int64_t num_rows);

  // Keeps the buffers of operations whose results this rank does not wait for; it is up to as many
  // of them ahead of the ranks that do.
  void Keep(InFlight in_flight);

 private:
  static constexpr size_t kMaxKept = 4;

  Offsets MakeOffsets(std::vector<int32_t> host) const;

  Communicator* group_;
  std::vector<Part> parts_;
  bool crossed_ = false;
  std::vector<int32_t> documents_;
  Offsets first_, last_;
  std::map<int64_t, Offsets> with_rows_before_;
  std::deque<InFlight> kept_;
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_PARALLEL_CONTEXT_SPLIT_H_
