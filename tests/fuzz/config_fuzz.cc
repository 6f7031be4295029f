// A run's configuration: what is accepted is written and read back as the same.
#include "tests/fuzz/scratch.h"
#include "trainer/config/load.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(wyvern::View(data, size));
  const auto config = wyvern::ParseRunConfig(text, "run.yaml");
  wyvern::ConfigNode tree;
  wyvern::SetConfigValue(text, &tree).IgnoreError();
  if (!config.ok()) return 0;
  const std::string yaml = wyvern::ToYaml(*config);
  const auto again = wyvern::ParseRunConfig(yaml, "config.yaml");
  CHECK(again.ok(), again.status().ToString());
  CHECK(wyvern::ToYaml(*again) == yaml, "the configuration changes when it is written again");
  return 0;
}
