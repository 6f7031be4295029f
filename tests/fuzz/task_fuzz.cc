// The file of a task.
#include "tests/fuzz/scratch.h"
#include "trainer/evaluation/task.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  const std::string path = scratch.Write("task.yaml", wyvern::View(data, size));
  const auto task = wyvern::ReadTask(path);
  if (task.ok()) CHECK(!task->metrics.empty(), "a task without metrics");
  return 0;
}
