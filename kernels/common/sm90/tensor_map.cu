// Tensor maps through the driver, found at run time so that the binary also starts without one.
#include "kernels/common/sm90/async.cuh"

namespace wyvern::sm90 {
namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

EncodeTiled Encoder() {
  static const EncodeTiled encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                cudaEnableDefault, &found));
    CHECK(found == cudaDriverEntryPointSuccess, "the NVIDIA driver has no cuTensorMapEncodeTiled");
    return reinterpret_cast<EncodeTiled>(function);
  }();
  return encode;
}

template <int kRank>
TensorMap MakeMap(CUtensorMapDataType type, const void* x, const cuuint64_t (&sizes)[kRank],
                  const cuuint64_t (&strides)[kRank - 1], const cuuint32_t (&box)[kRank]) {
  TensorMap map;
  cuuint32_t steps[kRank];
  for (cuuint32_t& step : steps) step = 1;
  const CUresult result =
      Encoder()(&map, type, kRank, const_cast<void*>(x), sizes, strides, box, steps,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  CHECK(result == CUDA_SUCCESS, "cuTensorMapEncodeTiled: error ", static_cast<int>(result));
  return map;
}

}  // namespace

TensorMap MakeTokenMap(const Bf16* x, int64_t tokens, int64_t heads, int64_t dim,
                       int64_t token_stride) {
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(dim), static_cast<cuuint64_t>(heads),
                               static_cast<cuuint64_t>(tokens)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(dim) * sizeof(Bf16),
                                 static_cast<cuuint64_t>(token_stride) * sizeof(Bf16)};
  return MakeMap<3>(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, x, sizes, strides, {kTile, 1, kTile});
}

TensorMap MakeMatrixMap(const Bf16* x, int64_t rows, int64_t columns) {
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(columns) * sizeof(Bf16)};
  return MakeMap<2>(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, x, sizes, strides, {kTile, kTile});
}

TensorMap MakeSumMap(const float* x, int64_t rows, int64_t columns) {
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(columns) * sizeof(float)};
  return MakeMap<2>(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, x, sizes, strides, {32, 16});
}

}  // namespace wyvern::sm90
