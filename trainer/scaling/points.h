// Where the points of a fit come from.
#ifndef WYVERN_TRAINER_SCALING_POINTS_H_
#define WYVERN_TRAINER_SCALING_POINTS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/scaling/law.h"

namespace wyvern {

struct ScalingPoints {
  std::string title;
  std::string loss;  // what `loss` of the points is
  std::vector<ScalingPoint> points;
  std::vector<std::pair<ScalingPoint, std::string>> excluded;  // with the reason
};

// The finished runs of a sweep's folder, or of the folder that a sweep's file names; its section
// `fit` (sweep.yaml of the folder, or the file) says what groups them and which are left out.
// Compute is the training FLOPs of sweep.json times the tokens. Runs that are not finished are left
// out with that as the reason. Errors: no sweep there, errors in `fit`, a damaged sweep.json.
absl::StatusOr<ScalingPoints> PointsOfSweep(const std::string& path);

// A CSV file (RFC 4180) with a header. Columns: loss; family, name, parameters, tokens as far as
// known; compute in PFLOP/s-days, or flops; exclude, the reason for which a point is left out
// (nothing, 0, no or false: it is not). The error lists every violation with its line; points that
// are all left out are one.
absl::StatusOr<ScalingPoints> PointsOfCsv(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCALING_POINTS_H_
