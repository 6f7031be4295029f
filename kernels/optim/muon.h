// Muon apart from its matmuls (momentum and scale of arXiv 2502.16982; the orthogonal factor by
// Newton-Schulz steps, K. Jordan et al. 2024). Of each matrix W [rows, columns] with gradient G:
//
//   MuonMomentum       M = momentum M + G grad_scale         U = G grad_scale + momentum M
//   NormalizeMatrices  X = U / (|U| + eps), |.| the Frobenius norm
//   (five steps)       O, the orthogonal factor of X, about   (trainer/optimizer/newton_schulz.h)
//   MuonApply          W = W (1 - lr weight_decay) - lr scale O,  scale = 0.2 sqrt(max(rows,
//                      columns)): the elements of an update then have the RMS of AdamW's
//
// M, G and W are Acc = AccOf<T>; U, X and O are of the matmuls' type T: bf16 on CUDA, fp32 or fp64
// on the CPU. Tensors of a call do not overlap.
#ifndef WYVERN_KERNELS_OPTIM_MUON_H_
#define WYVERN_KERNELS_OPTIM_MUON_H_

#include <vector>

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// A parameter, or a part of one.
template <typename T>
struct MuonMomentumTensor {
  using Acc = AccOf<T>;
  int64_t num_elements = 0;
  const Acc* grad = nullptr;  // [N]
  Acc* m = nullptr;           // [N]
  T* u = nullptr;             // [N]
};

template <typename T>
struct MuonMomentumParams {
  using Acc = AccOf<T>;
  std::vector<MuonMomentumTensor<T>> tensors;  // structs on the host, memory on the device
  double momentum = 0.95;
  const Acc* grad_scale = nullptr;  // [1] on the device, or null: 1 (GradNormParams::clip)
  const int32_t* finite = nullptr;  // [1] on the device: where 0, m stays and u is 0; null: update
  StreamHandle stream = nullptr;
};

template <typename T>
struct NormalizeMatricesParams {
  int64_t batch = 0, num_elements = 0;  // of one matrix
  double eps = 1e-7;                    // of the published code; a zero matrix stays zero
  const T* x = nullptr;                 // [B, N]
  T* y = nullptr;                       // [B, N]
  StreamHandle stream = nullptr;
};

template <typename T>
struct MuonApplyTensor {
  using Acc = AccOf<T>;
  int64_t num_elements = 0;
  Acc* master = nullptr;  // [N]
  const T* o = nullptr;   // [N]
  T* copy = nullptr;      // [N] the new master rounded, as the forward reads it; or null
  double scale = 1, weight_decay = 0;
};

template <typename T>
struct MuonApplyParams {
  std::vector<MuonApplyTensor<T>> tensors;
  double lr = 0;
  const int32_t* finite = nullptr;  // [1] on the device: where 0 nothing changes; null: update
  StreamHandle stream = nullptr;
};

template <typename T>
void MuonMomentum(CpuTag, const MuonMomentumParams<T>& p);
template <typename T>
void NormalizeMatrices(CpuTag, const NormalizeMatricesParams<T>& p);
template <typename T>
void MuonApply(CpuTag, const MuonApplyParams<T>& p);
template <typename T>
void MuonMomentum(CudaTag, const MuonMomentumParams<T>& p);
template <typename T>
void NormalizeMatrices(CudaTag, const NormalizeMatricesParams<T>& p);
template <typename T>
void MuonApply(CudaTag, const MuonApplyParams<T>& p);
template <typename T>
void MuonMomentum(MetaTag, const MuonMomentumParams<T>& p);
template <typename T>
void NormalizeMatrices(MetaTag, const NormalizeMatricesParams<T>& p);
template <typename T>
void MuonApply(MetaTag, const MuonApplyParams<T>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPTIM_MUON_H_
