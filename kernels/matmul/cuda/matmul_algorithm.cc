#include "kernels/matmul/cuda/matmul_algorithm.h"

#include <algorithm>
#include <cmath>

namespace wyvern {
namespace {

// The library's warp-specialised kernels for sm_90.
constexpr int kHopperKernels = 66;
// Below this a launch is too short for the model of waves.
constexpr int64_t kSmallest = 1024;
// From here on the tail of a tile that nothing overlaps is short beside its sums.
constexpr int64_t kLongSums = 4096;

struct Tile {
  cublasLtMatmulTile_t id;
  int64_t rows, columns;
  int option;  // selects the schedule: how many tiles a multiprocessor works on at once
  cublasLtClusterShape_t cluster;
  // Rate of a full wave beside the first tile's, for short and for long sums: measured on an H100
  // at its power limit over the products of models of 0.3 to 1.3 billion parameters, forward and
  // both gradients, of 4,096 to 32,768 tokens (cuBLAS 13.1). The smaller tiles hide the end of one
  // behind the sums of the next.
  double short_rate, long_rate;
};

constexpr Tile kTiles[] = {
    {CUBLASLT_MATMUL_TILE_128x160, 128, 160, 1, CUBLASLT_CLUSTER_SHAPE_2x1x1, 1.00, 1.00},
    {CUBLASLT_MATMUL_TILE_176x128, 176, 128, 2, CUBLASLT_CLUSTER_SHAPE_1x2x1, 0.98, 0.98},
    {CUBLASLT_MATMUL_TILE_128x128, 128, 128, 3, CUBLASLT_CLUSTER_SHAPE_1x2x1, 0.98, 0.98},
    {CUBLASLT_MATMUL_TILE_256x128, 256, 128, 7, CUBLASLT_CLUSTER_SHAPE_1x2x1, 0.93, 0.99},
};
// Of the library's own choice, whose tile need not be one of these.
constexpr double kShortRate = 0.90, kLongRate = 0.97;

template <typename T>
bool Set(cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulAlgoConfigAttributes_t name, T value) {
  return cublasLtMatmulAlgoConfigSetAttribute(algorithm, name, &value, sizeof(value)) ==
         CUBLAS_STATUS_SUCCESS;
}

// Whether this library has the tile for this problem.
bool MakeAlgorithm(const MatmulProblem& p, const Tile& tile, cublasLtMatmulAlgo_t* algorithm) {
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

// The share of the machine's time that computes elements of D: a last wave may be partly empty, and
// tiles at the edges partly outside.
double Fill(const MatmulProblem& p, const Tile& tile) {
  const auto count = [](int64_t all, int64_t part) { return (all + part - 1) / part; };
  const int64_t tiles = p.batch * count(p.m, tile.rows) * count(p.n, tile.columns);
  const int64_t slots = count(tiles, p.num_sms) * p.num_sms;
  return static_cast<double>(p.batch * p.m * p.n) /
         static_cast<double>(slots * tile.rows * tile.columns);
}

double Fill(const cublasLtMatmulHeuristicResult_t& heuristic) {
  const double waves = heuristic.wavesCount;
  return waves > 0 ? std::min(1.0, waves / std::ceil(waves - 0.005)) : 1;
}

}  // namespace

cublasLtMatmulAlgo_t ChooseAlgorithm(const MatmulProblem& p,
                                     const cublasLtMatmulHeuristicResult_t& heuristic) {
  cublasLtMatmulAlgo_t best = heuristic.algo;
  if (p.in != CUDA_R_16BF || std::min({p.m, p.n, p.k}) < kSmallest) return best;
  const bool long_sums = p.k >= kLongSums;
  double best_rate = Fill(heuristic) * (long_sums ? kLongRate : kShortRate);
  for (const Tile& tile : kTiles) {
    const double rate = Fill(p, tile) * (long_sums ? tile.long_rate : tile.short_rate);
    cublasLtMatmulAlgo_t algorithm;
    if (rate <= best_rate || !MakeAlgorithm(p, tile, &algorithm)) continue;
    best = algorithm;
    best_rate = rate;
  }
  return best;
}

}  // namespace wyvern
