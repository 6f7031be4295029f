#include "autograd/ops/linear_attention/mamba_inputs.h"

namespace wyvern {

std::vector<OpCase<MambaInputs>> MambaInputs::Cases() {
  struct Variant {
    const char* name;
    int64_t tokens, heads, head_dim, groups, state_dim;
    bool bias = true;
    double min_dt = 0, max_dt = std::numeric_limits<double>::infinity();
    std::vector<std::string> unused = {};
    bool differences = true;
  };
  std::vector<OpCase<MambaInputs>> cases;
  for (const Variant& v : std::vector<Variant>{{.name = "one token",
                          .tokens = 1,
                          .heads = 1,
                          .head_dim = 4,
                          .groups = 1,
                          .state_dim = 3},
                                               {.name = "no tokens",
                                               .tokens = 0,
                                               .heads = 2,
                                               .head_dim = 4,
                                               .groups = 1,
                                               .state_dim = 3},
                                               {.name = "two groups",
                                               .tokens = 7,
                                               .heads = 4,
                                               .head_dim = 5,
                                               .groups = 2,
                                               .state_dim = 6},
                                               {.name = "without a bias",
                                               .tokens = 9,
                                               .heads = 2,
                                               .head_dim = 3,
                                               .groups = 1,
                                               .state_dim = 4,
                                               .bias = false},
                                               // The limits hold about a third of the steps each.
                                               {.name = "limits",
                                               .tokens = 12,
                                               .heads = 3,
                                               .head_dim = 2,
                                               .groups = 1,
                                               .state_dim = 2,
                                               .min_dt = 0.4,
                                               .max_dt = 1.1},
                                               {.name = "without decays' gradients",
                                               .tokens = 5,
                                               .heads = 2,
                                               .head_dim = 3,
                                               .groups = 1,
                                               .state_dim = 2,
                                               .unused = {"g", "q"}},
                                               {.name = "300 tokens",
                                               .tokens = 300,
                                               .heads = 8,
                                               .head_dim = 64,
                                               .groups = 2,
                                               .state_dim = 64,
                                               .differences = false}}) {
    CaseRandom random(v.name);
    OpCase<MambaInputs> c;
    c.name = v.name;
    const int64_t channels = v.heads * v.head_dim + 2 * v.groups * v.state_dim;
    c.in.conv = random.Normal({v.tokens, channels});
    if (v.bias) c.in.conv_bias = random.Normal({channels}, 0, 0.5);
    c.in.dt = random.Normal({v.tokens, v.heads});
    if (v.min_dt > 0) {  // below, between and above the limits, and away from them
      for (int64_t i = 0; i < c.in.dt.numel(); ++i) {
        double& dt = c.in.dt.data<double>()[i];
        dt = 0.05 * dt + std::vector<double>{-3, 0, 2}[i % 3];
      }
    }
    c.in.a_log = random.Uniform({v.heads}, -1, 1);
    c.in.dt_bias = random.Normal({v.heads}, 0, v.min_dt > 0 ? 0.02 : 0.3);
    c.params = {.head_dim = v.head_dim,
                .num_groups = v.groups,
                .state_dim = v.state_dim,
                .min_dt = v.min_dt,
                .max_dt = v.max_dt};
    c.unused_outputs = v.unused;
    c.finite_differences = v.differences;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace wyvern
