#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/attention/latent_attention.h"

namespace wyvern {

// One token and a few of a context of any length; on the GPU, decoding has no backward.
std::vector<BenchShape> LatentAttention::BenchShapes(Device device) {
  const bool small = device == Device::kCpu;
  const int64_t own = small ? 16 : 128;
  const BenchShape shape({{"queries", 1},
                          {"keys", small ? 256 : 4096},
                          {"heads", small ? 4 : 32},
                          {"own_dim", own},
                          {"shared_dim", own / 2},
                          {"value_dim", own},
                          {"rank", 4 * own},
                          {.key = "backward", .choices = {"no", "yes"}}});
  std::vector<BenchShape> shapes;
  for (const int64_t keys :
       small ? std::vector<int64_t>{256} : std::vector<int64_t>{4096, 131072, 1 << 20}) {
    for (const int64_t queries : {int64_t{1}, int64_t{64}}) {
      const bool backward = small || (queries > 1 && keys <= 4096);
      shapes.push_back(
          shape.With({{"queries", queries}, {"keys", keys}, {"backward", backward ? 1 : 0}}));
    }
  }
  return shapes;
}

absl::StatusOr<BenchCase<LatentAttention>> LatentAttention::BenchCaseOf(const BenchShape& s) {
  if (s["queries"] > s["keys"]) {
    return absl::InvalidArgumentError(absl::StrCat(
        s["queries"], " queries are the last of the keys, of which there are ", s["keys"]));
  }
  BenchCase<LatentAttention> c;
  c.name = absl::StrCat(s["queries"], " of ", s["keys"]);
  c.in = {.q = {.shape = {s["queries"], s["heads"], s["own_dim"] + s["shared_dim"]}},
          .latent = {.shape = {s["keys"], s["rank"] + s["shared_dim"]}},
          .weight = {.shape = {s["heads"] * (s["own_dim"] + s["value_dim"]), s["rank"]},
                     .stddev = 0.04}};
  c.params.value_dim = s["value_dim"];
  c.forward_only = s["backward"] == 0;
  return c;
}

}  // namespace wyvern
