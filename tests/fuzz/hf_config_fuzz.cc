// config.json of a Hugging Face folder: what is accepted can be written again, where a family holds
// it, and means the same model.
#include "data/json.h"
#include "tests/fuzz/scratch.h"
#include "trainer/config/model_json.h"
#include "trainer/hf/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = wyvern::ParseJson(wyvern::View(data, size), "config.json");
  if (!json.ok()) return 0;
  auto config = wyvern::ReadHfConfig(*json);
  if (!config.ok()) return 0;
  // This family's readers do not tie: the head is written as a copy.
  if (config->family == wyvern::HfFamily::kKimiLinear) config->model.tie_embeddings = false;
  const auto written =
      wyvern::WriteHfConfig(config->model, {config->family, "float32", config->kept});
  if (!written.ok()) return 0;
  const auto again = wyvern::ReadHfConfig(written->config);
  CHECK(again.ok(), again.status().ToString());
  const std::string difference = wyvern::FirstDifference(
      wyvern::ModelConfigToJson(config->model), wyvern::ModelConfigToJson(again->model), "model");
  CHECK(difference.empty(), difference);
  return 0;
}
