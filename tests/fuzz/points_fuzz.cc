// The points of a fit as CSV.
#include "tests/fuzz/scratch.h"
#include "trainer/scaling/points.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  const std::string path = scratch.Write("points.csv", wyvern::View(data, size));
  wyvern::PointsOfCsv(path).status().IgnoreError();
  return 0;
}
