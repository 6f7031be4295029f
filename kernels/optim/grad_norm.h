// The Euclidean norm over many gradient tensors, and what follows from it for the update.
//
//   norm   = sqrt(sum over tensors and elements of grad^2)
//   clip   = min(1, max_norm / (norm + 1e-6)), 1 where max_norm = 0
//   finite = whether norm and loss are finite
//
// Everything stays on the device: a step needs no host synchronisation. Squares are summed in Acc
// within chunks and in fp64 over chunks, in a fixed order.
#ifndef WYVERN_KERNELS_OPTIM_GRAD_NORM_H_
#define WYVERN_KERNELS_OPTIM_GRAD_NORM_H_

#include <vector>

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Acc>
struct GradNormTensor {
  int64_t num_elements = 0;
  const Acc* grad = nullptr;  // [N]
};

// Acc: float or double on the CPU, float on CUDA.
template <typename Acc>
struct GradNormParams {
  std::vector<GradNormTensor<Acc>> tensors;  // structs on the host, memory on the device
  double max_norm = 0;                       // 0: no clipping
  const Acc* loss = nullptr;                 // [1] on the device, or null: taken as finite
  Acc* norm = nullptr;                       // [1]
  Acc* clip = nullptr;                       // [1]
  int32_t* finite = nullptr;                 // [1] 1 or 0
  double* squares = nullptr;  // [1] on the device: when given, the sum of the squares alone is
                              // written, and the rest is left to FinishGradNorm
  StreamHandle stream = nullptr;
};

// The end of GradNorm, from sums of squares that several ranks have added up: one, or two where
// groups of different ranks did.
template <typename Acc>
struct FinishGradNormParams {
  const double* squares = nullptr;  // [num_squares] on the device; the other members as above
  int64_t num_squares = 1;          // added up in order
  double max_norm = 0;
  const Acc* loss = nullptr;
  Acc* norm = nullptr;
  Acc* clip = nullptr;
  int32_t* finite = nullptr;
  StreamHandle stream = nullptr;
};

template <typename Acc>
void GradNorm(CpuTag, const GradNormParams<Acc>& p);
template <typename Acc>
void GradNorm(CudaTag, const GradNormParams<Acc>& p);
template <typename Acc>
void FinishGradNorm(CpuTag, const FinishGradNormParams<Acc>& p);
template <typename Acc>
void FinishGradNorm(CudaTag, const FinishGradNormParams<Acc>& p);
template <typename Acc>
void GradNorm(MetaTag, const GradNormParams<Acc>& p);
template <typename Acc>
void FinishGradNorm(MetaTag, const FinishGradNormParams<Acc>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPTIM_GRAD_NORM_H_
