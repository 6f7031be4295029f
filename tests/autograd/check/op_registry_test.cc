// Every op's registry row, on the CPU and, where there is one, on the GPU.
#include "autograd/check/op_registry.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "tests/support/within_limits.h"

namespace wyvern {
namespace {

struct Place {
  OpRow row;
  Device device;
};

void PrintTo(const Place& place, std::ostream* out) {
  *out << place.row.name << " on " << Name(place.device);
}

class OpTest : public testing::TestWithParam<Place> {};

TEST_P(OpTest, EachOutputAndGradientIsWithinItsLimit) {
  std::string why;
  if (GetParam().device == Device::kCuda && !CudaAvailable(&why)) GTEST_SKIP() << why;
  ExpectWithinLimits(GetParam().row.check(GetParam().device));
}

std::vector<Place> AllPlaces() {
  std::vector<Place> places;
  for (const OpRow& row : OpRegistry()) {
    for (const Device device : {Device::kCpu, Device::kCuda}) places.push_back({row, device});
  }
  return places;
}

INSTANTIATE_TEST_SUITE_P(Registry, OpTest, testing::ValuesIn(AllPlaces()), [](const auto& info) {
  return info.param.row.name + "_" + Name(info.param.device);
});

TEST(OpRegistry, HoldsEveryOpOfTheFolder) {
  std::set<std::string> rows, headers;
  for (const OpRow& row : OpRegistry()) rows.insert(row.name);
  for (const auto& entry : std::filesystem::recursive_directory_iterator("autograd/ops")) {
    if (entry.path().extension() != ".h") continue;
    std::ifstream file(entry.path());
    const std::string text(std::istreambuf_iterator<char>(file), {});
    if (absl::StrContains(text, "const char* kName")) headers.insert(entry.path().stem());
  }
  EXPECT_EQ(rows, headers);
}

}  // namespace
}  // namespace wyvern
