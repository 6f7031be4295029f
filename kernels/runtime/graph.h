#ifndef WYVERN_KERNELS_RUNTIME_GRAPH_H_
#define WYVERN_KERNELS_RUNTIME_GRAPH_H_

#include <functional>

namespace wyvern {

// Work of the compute stream that is recorded once and launched many times, without the host's part
// in it: a CUDA graph. What differs from launch to launch, kernels read from device memory.
class Graph {
 public:
  Graph() = default;
  ~Graph();  // NOLINT(performance-trivially-destructible): with CUDA it is not
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Records what `work` queues; nothing of it runs. It must have run before, with the same arena
  // (kernels/runtime/arena.h), which gives it memory. A copy between host and device, a wait,
  // or other memory aborts, and the message names the operation. Needs CUDA.
  void Record(const std::function<void()>& work);
  bool recorded() const { return exec_ != nullptr; }
  // Queues the recorded work.
  void Launch() const;

  // Whether this thread records a graph.
  static bool Recording();

 private:
  void* exec_ = nullptr;  // cudaGraphExec_t
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_GRAPH_H_
