#ifndef WYVERN_TRAINER_BENCH_OP_SHAPE_H_
#define WYVERN_TRAINER_BENCH_OP_SHAPE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "autograd/check/bench_shape.h"

namespace wyvern {

// The shape that `text`, "tokens=32768,heads=16", makes of an op's default shape. InvalidArgument:
// names the part that is not key=value, the key that the op has not, or the value that is no number
// of at least the key's least, or none of its choices.
absl::StatusOr<BenchShape> ParseBenchShape(absl::string_view text, const std::string& op,
                                           const BenchShape& defaults);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_BENCH_OP_SHAPE_H_
