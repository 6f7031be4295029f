// JSON: a value that is accepted is written and read back as the same.
#include "data/io/json.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto value = wyvern::ParseJson(wyvern::View(data, size), "a.json");
  if (!value.ok()) return 0;
  const nlohmann::json copy = *value;
  const auto again = wyvern::ParseJson(wyvern::JsonText(copy), "b.json");
  CHECK(again.ok(), again.status().ToString());
  CHECK(*again == *value, "the value changes when it is written again");
  return 0;
}
