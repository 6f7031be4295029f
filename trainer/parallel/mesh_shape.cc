#include "trainer/parallel/mesh_shape.h"

#include "absl/strings/str_cat.h"

namespace wyvern {

absl::StatusOr<MeshShape> ResolveMesh(const MeshShape& wanted, int64_t num_ranks) {
  MeshShape shape = wanted;
  const auto describe = [&] {
    return absl::StrCat("parallel: replicate ", wanted.replicate, " x shard ", wanted.shard,
                        wanted.context == 1 ? "" : absl::StrCat(" x context ", wanted.context));
  };
  int64_t* open = nullptr;
  int64_t given = 1;
  for (int64_t* size : {&shape.replicate, &shape.shard, &shape.context}) {
    if (*size == -1 && open == nullptr) {
      open = size;
    } else if (*size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(describe(), ": expected sizes of at least 1, and -1 at one axis at most"));
    } else {
      given *= *size;
    }
  }
  if (open != nullptr) {
    if (num_ranks % given != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          describe(), ": the sizes that are given make ", given, ", which does not divide the ",
          num_ranks, num_ranks == 1 ? " rank" : " ranks", " of this run"));
    }
    *open = num_ranks / given;
  } else if (given != num_ranks) {
    return absl::InvalidArgumentError(
        absl::StrCat(describe(), " makes ", given, " ranks, but this run has ", num_ranks,
                     "; start ", given, " ranks, or set one axis to -1"));
  }
  if (shape.expert < 1 || num_ranks % shape.expert != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("parallel.expert: ", shape.expert, " does not divide the ", num_ranks,
                     num_ranks == 1 ? " rank" : " ranks", " of this run"));
  }
  return shape;
}

}  // namespace wyvern
