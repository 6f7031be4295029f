// config.json of a Hugging Face folder: what is accepted and can be written again, where a family
// holds it, reads back, and is then written as before.
#include "data/io/json.h"
#include "tests/fuzz/scratch.h"
#include "trainer/config/model_json.h"
#include "trainer/hf/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = wyvern::ParseJson(wyvern::View(data, size), "config.json");
  if (!json.ok()) return 0;
  const auto config = wyvern::ReadHfConfig(*json);
  if (!config.ok()) return 0;
  const auto written =
      wyvern::WriteHfConfig(config->model, {config->family, "float32", config->kept});
  if (!written.ok()) return 0;
  const auto again = wyvern::ReadHfConfig(written->config);
  CHECK(again.ok(), again.status().ToString());
  const auto twice = wyvern::WriteHfConfig(again->model, {again->family, "float32", again->kept});
  CHECK(twice.ok(), twice.status().ToString());
  const std::string difference =
      wyvern::FirstDifference(written->config, twice->config, "config.json");
  CHECK(difference.empty(), difference);
  return 0;
}
