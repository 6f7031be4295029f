// Products through cuBLASLt. Its matrices are column-major, so the row-major C = op(A) op(B) is
// asked for as C^T = op(B)^T op(A)^T, which needs no copies: a row-major matrix is its own
// transpose in column-major order.
#include <cublasLt.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>

#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/matmul/cuda/matmul_algorithm.h"
#include "kernels/matmul/matmul.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/plan_log.h"

#define CUBLAS_CHECK(expression)                                     \
  do {                                                               \
    const cublasStatus_t wyvern_status = (expression);               \
    CHECK(wyvern_status == CUBLAS_STATUS_SUCCESS, #expression, ": ", \
          cublasLtGetStatusString(wyvern_status));                   \
  } while (false)

namespace wyvern {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;

template <typename T>
constexpr cudaDataType_t CudaType() {
  return sizeof(T) == 2 ? CUDA_R_16BF : CUDA_R_32F;
}

struct ProblemKey {
  int64_t m, n, k, batch;  // of the row-major matmul
  cudaDataType_t in, out;
  bool transpose_a, transpose_b, accumulate;
  uint32_t align_a, align_b, align_c;

  auto Tie() const {
    return std::tie(m, n, k, batch, in, out, transpose_a, transpose_b, accumulate, align_a, align_b,
                    align_c);
  }
  bool operator<(const ProblemKey& other) const { return Tie() < other.Tie(); }
};

// Everything a launch needs; made once per problem and kept, so that a training step asks the
// heuristics nothing after its first run and always takes the same algorithm.
struct Launch {
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, c;
  cublasLtMatmulAlgo_t algorithm;
  GemmPlan plan;
};

// Bytes that divide the address of each of a batch of matrices, at most what cuBLASLt
// distinguishes.
template <typename T>
uint32_t AlignmentOf(const T* pointer, int64_t batch, int64_t num_elements) {
  uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  if (batch > 1) address |= static_cast<uintptr_t>(num_elements) * sizeof(T);
  uint32_t alignment = 256;
  while (address % alignment != 0) alignment /= 2;
  return alignment;
}

// The column-major layout of row-major [rows, columns] matrices, one after another.
cublasLtMatrixLayout_t Layout(cudaDataType_t type, int64_t batch, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t layout;
  CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(columns),
                                          static_cast<uint64_t>(rows), columns));
  const auto set = [&](cublasLtMatrixLayoutAttribute_t name, auto value) {
    CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(layout, name, &value, sizeof(value)));
  };
  if (batch > 1) {
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(batch));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, rows * columns);
  }
  return layout;
}

template <typename T>
void SetPreference(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name,
                   T value) {
  CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof(value)));
}

class BlasLt {
 public:
  // Handle, workspace and launches live as long as the process: the driver may be gone before
  // static destructors run. All matmuls share the workspace, which is safe because they run on one
  // stream (kernels/runtime/device.h, ComputeStream).
  static BlasLt& Get() {
    static BlasLt* const instance = new BlasLt;
    return *instance;
  }

  cublasLtHandle_t handle() const { return handle_; }
  void* workspace() const { return workspace_.data(); }

  const Launch& LaunchOf(const ProblemKey& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = launches_.find(key);
    if (found != launches_.end()) return found->second;
    return launches_.emplace(key, MakeLaunch(key)).first->second;
  }

 private:
  BlasLt() : workspace_(Device::kCuda, kWorkspaceBytes) { CUBLAS_CHECK(cublasLtCreate(&handle_)); }

  Launch MakeLaunch(const ProblemKey& key) const {
    Launch launch;
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&launch.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const auto set_transpose = [&](cublasLtMatmulDescAttributes_t name, bool transpose) {
      const cublasOperation_t value = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
      CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(launch.operation, name, &value, sizeof(value)));
    };
    // cuBLASLt's first operand is our B.
    set_transpose(CUBLASLT_MATMUL_DESC_TRANSA, key.transpose_b);
    set_transpose(CUBLASLT_MATMUL_DESC_TRANSB, key.transpose_a);
    launch.a = key.transpose_a ? Layout(key.in, key.batch, key.k, key.m)
                               : Layout(key.in, key.batch, key.m, key.k);
    launch.b = key.transpose_b ? Layout(key.in, key.batch, key.n, key.k)
                               : Layout(key.in, key.batch, key.k, key.n);
    launch.c = Layout(key.out, key.batch, key.m, key.n);

    cublasLtMatmulPreference_t preference;
    CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    SetPreference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.align_b);
    SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.align_a);
    SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.align_c);
    SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.align_c);
    // Split-K may only sum its parts from the workspace in fp32: in-place reduction uses atomics,
    // and reduction in the output type rounds every part.
    SetPreference(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                  static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    cublasLtMatmulHeuristicResult_t result;
    int num_results = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle_, launch.operation, launch.b, launch.a, launch.c,
                                       launch.c, preference, 1, &result, &num_results);
    CHECK(status == CUBLAS_STATUS_SUCCESS && num_results == 1, "cuBLASLt has no algorithm for m ",
          key.m, ", n ", key.n, ", k ", key.k, ", batch ", key.batch, ": ",
          cublasLtGetStatusString(status));
    CUBLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
    launch.algorithm = result.algo;
    const MatmulProblem problem = {.handle = handle_,
                                   .operation = launch.operation,
                                   .a = launch.b,
                                   .b = launch.a,
                                   .c = launch.c,
                                   .in = key.in,
                                   .out = key.out,
                                   .workspace_bytes = kWorkspaceBytes};
    // Weight gradients, which read both operands across their rows, run best as the library has
    // them. The copy engine that feeds the other tiles takes 16-byte units.
    const GemmDesc desc = {
        .m = key.n,
        .n = key.m,
        .k = key.k,
        .batch = key.batch,
        .bf16 = key.in == CUDA_R_16BF,
        .tileable = !key.transpose_a && std::min({key.align_a, key.align_b, key.align_c}) >= 16,
        .heuristic_fill = FillOf(result)};
    for (const GemmPlan& plan : ChooseGemm(desc, CurrentGpu())) {
      launch.plan = plan;
      cublasLtMatmulAlgo_t algorithm;
      if (plan.tile < 0) break;
      if (!MakeAlgorithm(problem, plan, &algorithm)) continue;
      launch.algorithm = algorithm;
      break;
    }
    return launch;
  }

  cublasLtHandle_t handle_;
  Buffer workspace_;
  std::mutex mutex_;
  std::map<ProblemKey, Launch> launches_;
};

constexpr int kThreads = 256;
constexpr int kRowLanes = kThreads / kWarpSize;
constexpr int64_t kMaxSlices = 64;

template <typename Io>
struct AddRowMap {
  AddRowParams<Io> p;
  template <int N>
  __device__ void At(int64_t i) const {
    float y[N], bias[N];
    LoadFloats(p.y + i, y);
    LoadFloats(p.bias + i % p.dim, bias);
#pragma unroll
    for (int j = 0; j < N; ++j) y[j] += bias[j];
    StoreFloats(p.y + i, y);
  }
};

// Each warp sums every kRowLanes-th row of its block's slice for 32 N columns, into a row of
// partials.
template <int N, typename Io>
__global__ void __launch_bounds__(kThreads)
    ColumnSumKernel(ColumnSumParams<Io> p, int64_t rows_per_slice, float* partials) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kWarpSize + threadIdx.x % kWarpSize) * N;
  if (i >= p.dim) return;
  const int warp = threadIdx.x / kWarpSize;
  const int64_t begin = blockIdx.y * rows_per_slice;
  const int64_t end = min(p.num_rows, begin + rows_per_slice);
  float sum[N] = {};
#pragma unroll 4
  for (int64_t t = begin + warp; t < end; t += kRowLanes) {
    float x[N];
    LoadFloats(p.x + t * p.dim + i, x);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[j] += x[j];
  }
  StoreFloats(partials + (static_cast<int64_t>(blockIdx.y) * kRowLanes + warp) * p.dim + i, sum);
}

}  // namespace

template <typename In, typename Out>
void Gemm(CudaTag, const GemmParams<In, Out>& p) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  const Out* addend = p.addend == nullptr || p.beta == 0 ? p.c : p.addend;
  if (p.k == 0) {  // cuBLASLt knows no empty sums
    CHECK(p.beta == 0 || (p.beta == 1 && addend == p.c), "beta ", p.beta, " of an empty product");
    if (p.beta == 0) {
      CUDA_CHECK(cudaMemsetAsync(p.c, 0, p.batch * p.m * p.n * sizeof(Out), ToStream(p.stream)));
    }
    return;
  }
  BlasLt& blas = BlasLt::Get();
  const ProblemKey key{
      p.m,
      p.n,
      p.k,
      p.batch,
      CudaType<In>(),
      CudaType<Out>(),
      p.transpose_a,
      p.transpose_b,
      p.beta != 0,
      AlignmentOf(p.a, p.batch, p.m * p.k),
      AlignmentOf(p.b, p.batch, p.k * p.n),
      std::min(AlignmentOf(p.c, p.batch, p.m * p.n), AlignmentOf(addend, p.batch, p.m * p.n))};
  const Launch& launch = blas.LaunchOf(key);
  NotePlan("gemm", launch.plan);
  const float alpha = static_cast<float>(p.alpha), beta = static_cast<float>(p.beta);
  CUBLAS_CHECK(cublasLtMatmul(blas.handle(), launch.operation, &alpha, p.b, launch.b, p.a, launch.a,
                              &beta, addend, launch.c, p.c, launch.c, &launch.algorithm,
                              blas.workspace(), kWorkspaceBytes, ToStream(p.stream)));
}

template <typename Io>
void AddRow(CudaTag, const AddRowParams<Io>& p) {
  const bool vectorise = p.dim % kVecSize<Io> == 0 && Aligned16(p.bias, p.y);
  LaunchMap<Io>(AddRowMap<Io>{p}, p.num_rows * p.dim, vectorise, p.stream);
}

template <typename Io>
void ColumnSum(CudaTag, const ColumnSumParams<Io>& p) {
  const int64_t rows_per_slice = std::max<int64_t>(kRowLanes * 8, CeilDiv(p.num_rows, kMaxSlices));
  const int64_t slices = CeilDiv(p.num_rows, rows_per_slice);
  const Buffer partials(Device::kCuda, slices * kRowLanes * p.dim * sizeof(float));
  if (slices > 0 && p.dim > 0) {
    VisitRowVec<Io>(p.dim, Aligned16(p.x), [&](auto n) {
      constexpr int N = decltype(n)::value;
      const dim3 grid(static_cast<unsigned>(CeilDiv<int64_t>(p.dim, kWarpSize * N)),
                      static_cast<unsigned>(slices));
      ColumnSumKernel<N>
          <<<grid, kThreads, 0, ToStream(p.stream)>>>(p, rows_per_slice, partials.as<float>());
    });
    CUDA_CHECK_LAUNCH();
  }
  SumPartials(partials.as<float>(), slices * kRowLanes, p.dim, p.out, /*add=*/false, p.stream);
}

template void Gemm(CudaTag, const GemmParams<float, float>&);
template void Gemm(CudaTag, const GemmParams<Bf16, Bf16>&);
template void Gemm(CudaTag, const GemmParams<Bf16, float>&);
template void AddRow(CudaTag, const AddRowParams<float>&);
template void AddRow(CudaTag, const AddRowParams<Bf16>&);
template void ColumnSum(CudaTag, const ColumnSumParams<float>&);
template void ColumnSum(CudaTag, const ColumnSumParams<Bf16>&);

}  // namespace wyvern
