#include "kernels/runtime/graph.h"

#include "kernels/runtime/check.h"
#include "kernels/runtime/device.h"
#ifdef WYVERN_CUDA
#include "kernels/runtime/cuda_check.h"
#endif

namespace wyvern {
namespace {

thread_local bool recording = false;

}  // namespace

bool Graph::Recording() { return recording; }

#ifdef WYVERN_CUDA

Graph::~Graph() {
  if (exec_ == nullptr) return;
  cudaStreamSynchronize(static_cast<cudaStream_t>(ComputeStream()));  // it may still run
  cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(exec_));
}

void Graph::Record(const std::function<void()>& work) {
  const auto stream = static_cast<cudaStream_t>(ComputeStream());
  if (exec_ != nullptr) {
    Synchronize(Device::kCuda);
    CUDA_CHECK(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(exec_)));
    exec_ = nullptr;
  }
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  recording = true;
  work();
  recording = false;
  cudaGraph_t graph;
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t exec;
  CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
  CUDA_CHECK(cudaGraphDestroy(graph));
  exec_ = exec;
}

void Graph::Launch() const {
  CHECK(recorded());
  CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(exec_),
                             static_cast<cudaStream_t>(ComputeStream())));
}

#else  // a build without CUDA

Graph::~Graph() = default;

void Graph::Record(const std::function<void()>&) {
  CHECK(false, "a build without CUDA records no graph");
}

void Graph::Launch() const { CHECK(recorded()); }

#endif

}  // namespace wyvern
