#include "layers/unit.h"

#include <gtest/gtest.h>

#include <map>

#include "layers/mixers/delta/delta_config.h"
#include "layers/model.h"

namespace wyvern {
namespace {

TEST(FlatParameters, ShardsCoverEveryParameterOnce) {
  ModelConfig config;
  config.vocab_size = 37;
  config.hidden_size = 24;
  config.num_layers = 1;
  config.intermediate_size = 40;
  config.mixers["m"] =
      DeltaMixerConfig{.decay = DeltaDecay::kPerHead, .num_heads = 3, .key_dim = 8, .value_dim = 8};
  config.pattern = {"m"};
  for (const int64_t count : {1, 2, 3, 7}) {
    std::map<std::string, std::vector<int>> covered;
    for (int64_t index = 0; index < count; ++index) {
      const auto model = Model::Create(config, Device::kCpu, DType::kFloat32, true,
                                       {.sharding = {.index = index, .count = count, .stage = 3}});
      for (const Parameter* p : model->parameters()) {
        const FlatParameters::Slice slice = p->flat->SliceOf(*p);
        std::vector<int>& times = covered[p->name];
        times.resize(static_cast<size_t>(p->value.numel()));
        for (int64_t i = slice.begin; i < slice.end; ++i) ++times[static_cast<size_t>(i)];
        if (slice.size() > 0) {
          EXPECT_LE(slice.shard_offset + slice.size(), p->flat->shard_size());
        }
      }
    }
    EXPECT_GT(covered.size(), 10u);
    for (const auto& [name, times] : covered) {
      EXPECT_EQ(times, std::vector<int>(times.size(), 1)) << name << " in " << count << " shards";
    }
  }
}

}  // namespace
}  // namespace wyvern
