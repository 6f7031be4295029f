#include "trainer/gguf/save_gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "data/io/file.h"
#include "tests/trainer/gguf/gguf_models.h"
#include "trainer/gguf/architecture.h"
#include "trainer/gguf/tokenizer.h"

namespace wyvern {
namespace {

absl::StatusOr<GgufSaved> Save(Model* model, const std::string& path, GgufOptions options = {}) {
  options.tokenizer = NoGgufTokenizer();
  return SaveGguf(model->config(), SourceOfModel(model), path, options);
}

TEST(SaveGgufTest, TwoFilesOfAModelAreTheSame) {
  const TemporaryFolder folder;
  const auto model = MakeGgufTestModel(GgufTestModelNamed("kimi_linear"));
  ASSERT_TRUE(Save(model.get(), folder / "a/model.gguf").ok());
  ASSERT_TRUE(Save(model.get(), folder / "b/model.gguf").ok());
  EXPECT_EQ(*ReadFile(folder / "a/model.gguf"), *ReadFile(folder / "b/model.gguf"));
}

TEST(SaveGgufTest, EveryModelHasItsArchitecture) {
  for (const auto& [name, config] : GgufTestModels()) {
    const auto found = FindGgufArchitecture(config);
    ASSERT_TRUE(found.ok()) << name << ": " << found.status();
    EXPECT_TRUE(absl::StartsWith(name, absl::StrReplaceAll((*found)->name, {{"-", "_"}}))) << name;
  }
}

// The first reason, by the architecture that is nearest.
TEST(SaveGgufTest, ModelsThatLlamaCppCannotHold) {
  const auto refusal = [](const std::string& model, const auto& change) {
    ModelConfig config = GgufTestModelNamed(model);
    change(&config);
    const auto found = FindGgufArchitecture(config);
    EXPECT_TRUE(absl::IsFailedPrecondition(found.status())) << model;
    return std::string(found.status().message());
  };
  const auto attention = [](const auto& change) {
    return [change](ModelConfig* m) { change(m->mixers["mixer"].As<AttentionMixerConfig>()); };
  };
  const auto delta = [](const auto& change) {
    return [change](ModelConfig* m) { change(m->mixers["mixer"].As<DeltaMixerConfig>()); };
  };
  const auto mla = [](const auto& change) {
    return [change](ModelConfig* m) { change(m->mixers["attention_0"].As<MlaMixerConfig>()); };
  };
  EXPECT_EQ(refusal("llama", attention([](auto* a) { a->window = 7; })),
            "llama.cpp's llama cannot hold this model: needs attention without a window");
  EXPECT_EQ(refusal("qwen3", attention([](auto* a) { a->window = 7; })),
            "llama.cpp's qwen3 cannot hold this model: needs attention without a window");
  EXPECT_EQ(refusal("qwen3", attention([](auto* a) { a->qkv_bias = a->output_bias = true; })),
            "llama.cpp's qwen3 cannot hold this model: needs attention without biases "
            "(qkv_bias, output_bias)");
  EXPECT_EQ(refusal("qwen3next", [](ModelConfig* m) { m->moe->first_dense = 1; }),
            "llama.cpp's qwen3next cannot hold this model: needs experts in all layers (moe, "
            "first_dense: 0, every: 1)");
  EXPECT_EQ(refusal("qwen35", [](ModelConfig* m) { m->at.clear(); }),
            "llama.cpp's qwen35 cannot hold this model: needs a layer of attention");
  EXPECT_EQ(refusal("qwen3next", [](ModelConfig* m) { m->moe->renormalize = false; }),
            "llama.cpp's qwen3next cannot hold this model: needs weights of a token's experts that "
            "add up to 1 (renormalize: true)");
  EXPECT_EQ(refusal("qwen3next", delta([](auto* d) { d->value_dim = 32; })),
            "llama.cpp's qwen3next cannot hold this model: needs gated_delta_net whose key_dim is "
            "its value_dim");
  EXPECT_EQ(refusal("qwen3next", [](ModelConfig* m) { m->at.clear(); }),
            "llama.cpp's qwen3next cannot hold this model: needs a layer of attention");
  EXPECT_EQ(
      refusal("kimi_linear", mla([](auto* a) { a->q_lora_rank = 8; })),
      "llama.cpp's kimi-linear cannot hold this model: needs mla whose queries are one matrix "
      "(q_lora_rank: 0)");
  EXPECT_EQ(refusal("kimi_linear", mla([](auto* a) { a->output_gate = OutputGate::kSigmoid; })),
            "llama.cpp's kimi-linear cannot hold this model: needs mla without an output_gate");
  EXPECT_EQ(refusal("kimi_linear", delta([](auto* d) { d->gate_lower_bound = -5; })),
            "llama.cpp's kimi-linear cannot hold this model: needs kda without a gate_lower_bound");
  EXPECT_EQ(refusal("kimi_linear", delta([](auto* d) { d->output_gate_rank = 0; })),
            "llama.cpp's kimi-linear cannot hold this model: needs kda whose output_gate_rank is "
            "key_dim");
  EXPECT_EQ(refusal("kimi_linear", delta([](auto* d) { d->num_heads = 4; })),
            "llama.cpp's kimi-linear cannot hold this model: needs as many heads in kda as in mla "
            "(num_heads)");
  EXPECT_EQ(
      refusal("kimi_linear", [](ModelConfig* m) { m->moe->every = 2; }),
      "llama.cpp's kimi-linear cannot hold this model: needs experts in all layers behind the "
      "dense ones (every: 1)");
  EXPECT_EQ(refusal("kimi_linear", [](ModelConfig* m) { m->moe->shared_experts = 0; }),
            "llama.cpp's kimi-linear cannot hold this model: needs a shared expert "
            "(shared_experts)");
  EXPECT_EQ(refusal("kimi_linear", [](ModelConfig* m) { m->moe->groups = 8; }),
            "llama.cpp's kimi-linear cannot hold this model: needs two experts or more in a group "
            "(groups)");
  // A mix of Gated DeltaNet, KDA and windows.
  EXPECT_TRUE(absl::StartsWith(
      refusal("kimi_linear",
              [](ModelConfig* m) { m->mixers["attention_0"] = AttentionMixerConfig{.window = 7}; }),
      "llama.cpp's kimi-linear cannot hold this model: layer "));
  EXPECT_EQ(refusal("llama", [](ModelConfig* m) { m->mixers["mixer"] = GlaMixerConfig{}; }),
            "llama.cpp's llama cannot hold this model: layer 1 is gla");
}

TEST(SaveGgufTest, ABiasWithoutAPlaceMustBeZero) {
  const TemporaryFolder folder;
  const auto model = MakeGgufTestModel(GgufTestModelNamed("qwen3next"));
  model->buffers().front()->value.data<float>()[1] = 0.5F;
  const absl::Status status = Save(model.get(), folder / "out.gguf").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "moe.router.bias is not zero")) << status;
  EXPECT_FALSE(std::filesystem::exists(folder / "out.gguf"));
}

TEST(SaveGgufTest, ValuesBeyondFp16AreAnErrorThatLeavesNoFile) {
  const TemporaryFolder folder;
  const auto model = MakeGgufTestModel(GgufTestModelNamed("llama"));
  for (const Parameter* p : model->parameters()) {
    if (p->name == "blocks.2.mlp.up_proj.weight") p->value.data<float>()[3] = -65536;
  }
  const absl::Status status =
      Save(model.get(), folder / "out.gguf", {.dtype = GgufDType::kF16}).status();
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "blk.2.ffn_up.weight has the value -65536"));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "."));
  EXPECT_TRUE(Save(model.get(), folder / "out.gguf", {.dtype = GgufDType::kBf16}).ok());
}

TEST(SaveGgufTest, OtherNormsThanLlamaCppsAreAWarning) {
  const TemporaryFolder folder;
  ModelConfig config = GgufTestModelNamed("kimi_linear_dense");
  config.norm_eps = 1e-5;
  const auto saved = Save(MakeGgufTestModel(config).get(), folder / "out.gguf");
  ASSERT_TRUE(saved.ok()) << saved.status();
  ASSERT_EQ(saved->warnings.size(), 1u);
  EXPECT_TRUE(absl::StrContains(saved->warnings[0], "norm_eps 1e-05")) << saved->warnings[0];
}

}  // namespace
}  // namespace wyvern
