#ifndef WYVERN_KERNELS_RUNTIME_INDEPENDENT_ROWS_H_
#define WYVERN_KERNELS_RUNTIME_INDEPENDENT_ROWS_H_

namespace wyvern {

// While one of these lives on a thread, its products y = x W^T on the CPU give every row of y bits
// that depend on that row of x alone: neither on the number of rows nor on its place among them.
// They may take longer (kernels/common/row_blocks.h). Products on a GPU are as always.
class IndependentRows {
 public:
  IndependentRows() : before_(on_) { on_ = true; }
  ~IndependentRows() { on_ = before_; }
  IndependentRows(const IndependentRows&) = delete;
  IndependentRows& operator=(const IndependentRows&) = delete;

  static bool On() { return on_; }

 private:
  static inline thread_local bool on_ = false;
  bool before_;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_INDEPENDENT_ROWS_H_
