#include "trainer/bench/decode_bench.h"

#include <gtest/gtest.h>

#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "tests/trainer/run_fixture.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/plan/flops.h"

namespace wyvern {
namespace {

constexpr int64_t kLatent = 8, kShared = 4;

// KDA, attention, MLA.
RunConfig TinyRun() {
  RunConfig config;
  config.run.name = "tiny";
  config.run.device = Device::kCpu;
  config.run.precision = DType::kFloat32;
  config.train.batch_tokens = config.data.seq_len;
  config.model = TinyConfig(50);
  config.model.num_layers = 3;
  config.model.mixers["mla"] = MlaMixerConfig{.num_heads = 2,
                                              .kv_lora_rank = kLatent,
                                              .qk_nope_dim = 8,
                                              .qk_rope_dim = kShared,
                                              .value_dim = 8};
  config.model.mixers["attention"] = AttentionMixerConfig{.num_heads = 2};
  config.model.pattern = {"kda", "attention", "mla"};
  config.model.mixers.erase("sliding");
  config.model.mixers.erase("delta");
  config.model.mixers.erase("gated");
  return config;
}

std::vector<DecodeRow> Rows(const RunConfig& config, const DecodeBenchOptions& options) {
  std::vector<DecodeRow> rows;
  const absl::Status status =
      BenchDecode(config, options, [&](const DecodeBench& bench, const DecodeRow& row) {
        EXPECT_EQ(bench.num_parameters, CountParameters(config.model));
        rows.push_back(row);
      });
  EXPECT_TRUE(status.ok()) << status;
  return rows;
}

double Bytes(const DecodeRow& row, const std::string& name) {
  double bytes = 0;
  for (const ClassTime& c : row.classes) bytes += c.name == name ? c.bytes : 0;
  return bytes;
}

TEST(DecodeBench, ARandomCacheIsAsLargeAsOneThatWasRead) {
  const RunConfig config = TinyRun();
  const auto made = Rows(config, {.contexts = {20, 80}, .tokens = 2});
  const auto read = Rows(config, {.contexts = {20, 80}, .tokens = 2, .prefill = true});
  ASSERT_EQ(made.size(), 2u);
  ASSERT_EQ(read.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(made[i].random_cache);
    EXPECT_TRUE(made[i].prefill_ms.empty());
    EXPECT_FALSE(read[i].random_cache);
    EXPECT_GE(read[i].prefill_ms.size(), 1u);
    EXPECT_EQ(made[i].token_ms.size(), 2u);
    EXPECT_GT(made[i].TokenMs(), 0);
    EXPECT_GT(made[i].DeviceMs(), 0);
    EXPECT_EQ(made[i].cache_bytes, read[i].cache_bytes);
    // The kernels read the same rows of the cache.
    EXPECT_EQ(Bytes(made[i], "attention"), Bytes(read[i], "attention"));
    EXPECT_EQ(Bytes(made[i], "delta rule"), Bytes(read[i], "delta rule"));
  }
  // The cache grows, for each token, by a row of fp32 latent vectors and one of keys and values.
  const int64_t row = (kLatent + kShared + 2 * 32) * 4;
  EXPECT_EQ(read[1].cache_bytes - read[0].cache_bytes, 60 * row);
  EXPECT_NEAR(Bytes(read[1], "attention") - Bytes(read[0], "attention"), 60 * row, 1);
}

TEST(DecodeBench, CountsTheProductsOfThePrompt) {
  RunConfig config = TinyRun();
  config.model.pattern = {"kda"};
  config.model.mixers.erase("attention");
  config.model.mixers.erase("mla");
  const auto rows = Rows(config, {.contexts = {64}, .tokens = 1, .prefill = true});
  // Logits of one token only.
  const double head = 2.0 * 50 * 32;
  const double expected = 64 * (FlopsPerToken(config.model, 64).forward - head) + head;
  EXPECT_DOUBLE_EQ(rows[0].prefill_flops, expected);
}

TEST(DecodeBench, ReadsWhatFitsInTheTime) {
  const auto rows = Rows(TinyRun(), {.contexts = {32, 4096},
                                     .tokens = 1,
                                     .prefill = true,
                                     .prefill_chunk = 16,
                                     .prefill_seconds = 1e-2});
  EXPECT_FALSE(rows[0].random_cache) << "nothing is known before the first";
  EXPECT_EQ(rows[0].prefill_chunk, 16);
  EXPECT_TRUE(rows[1].random_cache);
}

TEST(DecodeBench, RefusesAnEmptyContext) {
  const absl::Status status = BenchDecode(TinyRun(), {.contexts = {8, 0}}, {});
  EXPECT_NE(status.message().find("context of 0 tokens"), absl::string_view::npos) << status;
}

class DecodeBenchCommand : public RunTest {};

TEST_F(DecodeBenchCommand, PrintsALineOrAJsonObjectAContext) {
  const std::vector<std::string> args = {"bench", "decode", Path("config.yaml"), "--context",
                                         "8",     "24",     "--tokens",          "2"};
  const ProcessResult table = Wyvern(args);
  ASSERT_EQ(table.exit_code, 0) << table.err;
  for (const char* part : {"tiny (", "one sequence", "ms/token", "random numbers"}) {
    EXPECT_NE(table.out.find(part), std::string::npos) << part << " is not in:\n" << table.out;
  }
  std::vector<std::string> more = args;
  more.insert(more.end(), {"--json", "--prefill"});
  const ProcessResult lines = Wyvern(more);
  ASSERT_EQ(lines.exit_code, 0) << lines.err;
  const std::string first = lines.out.substr(0, lines.out.find('\n'));
  const auto json = nlohmann::json::parse(first, nullptr, false);
  ASSERT_TRUE(json.is_object()) << lines.out;
  EXPECT_EQ(json["context"], 8);
  EXPECT_EQ(json["random_cache"], false);
  EXPECT_GT(json["prefill_ms"], 0);
  EXPECT_GT(json["cache_bytes"], 0);
  const ProcessResult none = Wyvern({"bench", "decode", Path("config.yaml"), "--context", "0"});
  EXPECT_NE(none.exit_code, 0);
}

}  // namespace
}  // namespace wyvern
