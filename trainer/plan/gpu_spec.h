// GPUs that runs are planned for, and how near to their bounds Wyvern's kernels come.
#ifndef WYVERN_TRAINER_PLAN_GPU_SPEC_H_
#define WYVERN_TRAINER_PLAN_GPU_SPEC_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "autograd/profiler_range.h"
#include "autograd/tape.h"
#include "layers/model_config.h"

namespace wyvern {

struct GpuSpec {
  std::string name;          // "h100-80g"
  double memory_bytes = 0;   // that the driver offers
  double peak_flops = 0;     // data sheet, dense bf16
  double copy_bytes = 0;     // per second, read and written by a large copy
  double link_bytes = 0;     // per second and direction, of collectives inside a host
  double network_bytes = 0;  // likewise between hosts, per GPU
  bool measured = false;     // whether copy_bytes and the shares below were measured on it
};

const std::vector<GpuSpec>& KnownGpus();
// NotFound, with the names that are known.
absl::StatusOr<GpuSpec> FindGpu(const std::string& name);

// How much of its bound a class of ops reaches: the time that its necessary FLOPs take at the
// peak rate, or its necessary bytes at that of a large copy, over the time of its kernels. From
// `wyvern bench step` of DeltaNet 1.3B, Gated DeltaNet 1.3B, KDA 1.3B and the Transformer on an
// H100 (experiments/throughput/results/models.jsonl), and of four layers of Kimi Linear 48B on an
// H200 (experiments/kimi_linear).
double ShareOfBound(WorkClass work_class, Pass pass, const ModelConfig& model,
                    RecomputePolicy recompute);

// The share of a step beyond its kernels (`wyvern bench step`: "outside").
inline constexpr double kOutsideShare = 0.047;
// The share of a collective's time that it costs the kernels beside which it runs.
inline constexpr double kOverlapCost = 0.15;
// Memory that tensors cannot have: the CUDA context, NCCL's buffers, gaps in the pool.
inline constexpr double kReservedBytes = 2.5e9;

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PLAN_GPU_SPEC_H_
