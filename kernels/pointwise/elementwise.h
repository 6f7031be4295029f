// Element-wise helpers of the runtime, outside the op registry.
#ifndef WYVERN_KERNELS_POINTWISE_ELEMENTWISE_H_
#define WYVERN_KERNELS_POINTWISE_ELEMENTWISE_H_

#include <cstdint>

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// to[i] = from[i], between any two of fp64, fp32 and bf16, rounded to nearest even.
void Cast(Device device, void* to, DType to_dtype, const void* from, DType from_dtype,
          int64_t num_elements, StreamHandle stream);

// y[i] += x[i], summed in Acc and rounded to Y's type. (x fp32 or fp64 may be added to a y of
// another floating type.)
void AddInto(Device device, void* y, DType y_dtype, const void* x, DType x_dtype,
             int64_t num_elements, StreamHandle stream);

// y[i] = s x[i], or y[i] += s x[i] with `add`; s is one element of Acc of X on the same device. (x
// and y of any floating types.)
void Scale(Device device, void* y, DType y_dtype, const void* x, DType x_dtype, const void* s,
           bool add, int64_t num_elements, StreamHandle stream);

// Writes `value` to each of n floating elements.
void Fill(Device device, void* y, DType dtype, double value, int64_t num_elements,
          StreamHandle stream);

// Copies num_rows rows of row_bytes bytes; rows are *_stride bytes apart. Nothing overlaps.
void CopyRows(Device device, void* to, int64_t to_stride, const void* from, int64_t from_stride,
              int64_t num_rows, int64_t row_bytes, StreamHandle stream);

// The same, to the rows numbered to_rows[0 .. num_rows), which are all different: memory of the
// device, read when the copy runs.
void PutRows(Device device, void* to, int64_t to_stride, const int32_t* to_rows, const void* from,
             int64_t from_stride, int64_t num_rows, int64_t row_bytes, StreamHandle stream);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_POINTWISE_ELEMENTWISE_H_
