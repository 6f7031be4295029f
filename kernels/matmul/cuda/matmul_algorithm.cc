#include "kernels/matmul/cuda/matmul_algorithm.h"

#include <algorithm>
#include <cmath>

namespace wyvern {
namespace {

// The library's warp-specialised kernels for sm_90.
constexpr int kHopperKernels = 66;

struct TileConfig {
  cublasLtMatmulTile_t id;
  int option;  // selects the schedule: how many tiles an SM works on at once
  cublasLtClusterShape_t cluster;
};
// The rates of kGemmTiles, in that order.
constexpr TileConfig kTiles[kNumGemmTiles] = {
    {CUBLASLT_MATMUL_TILE_128x160, 1, CUBLASLT_CLUSTER_SHAPE_2x1x1},
    {CUBLASLT_MATMUL_TILE_176x128, 2, CUBLASLT_CLUSTER_SHAPE_1x2x1},
    {CUBLASLT_MATMUL_TILE_128x128, 3, CUBLASLT_CLUSTER_SHAPE_1x2x1},
    {CUBLASLT_MATMUL_TILE_256x128, 7, CUBLASLT_CLUSTER_SHAPE_1x2x1},
};

template <typename T>
bool Set(cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulAlgoConfigAttributes_t name, T value) {
  return cublasLtMatmulAlgoConfigSetAttribute(algorithm, name, &value, sizeof(value)) ==
         CUBLAS_STATUS_SUCCESS;
}

}  // namespace

double FillOf(const cublasLtMatmulHeuristicResult_t& heuristic) {
  const double waves = heuristic.wavesCount;
  return waves > 0 ? std::min(1.0, waves / std::ceil(waves - 0.005)) : 1;
}

bool MakeAlgorithm(const MatmulProblem& p, const GemmPlan& plan, cublasLtMatmulAlgo_t* algorithm) {
  const TileConfig& tile = kTiles[plan.tile];
  cublasLtMatmulHeuristicResult_t result;
  return cublasLtMatmulAlgoInit(p.handle, CUBLAS_COMPUTE_32F, CUDA_R_32F, p.in, p.in, p.out, p.out,
                                kHopperKernels, algorithm) == CUBLAS_STATUS_SUCCESS &&
         Set<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, tile.id) &&
         Set<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID, CUBLASLT_MATMUL_STAGES_64xAUTO) &&
         Set<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 1) &&
         Set<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                       CUBLASLT_REDUCTION_SCHEME_NONE) &&
         Set<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, tile.option) &&
         Set<uint16_t>(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, tile.cluster) &&
         cublasLtMatmulAlgoCheck(p.handle, p.operation, p.a, p.b, p.c, p.c, algorithm, &result) ==
             CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= p.workspace_bytes;
}

}  // namespace wyvern
