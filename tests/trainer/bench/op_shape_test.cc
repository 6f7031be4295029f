// `wyvern bench ops --shape`: what it takes, for every op of the registry.
#include "trainer/bench/op_shape.h"

#include <gtest/gtest.h>

#include "autograd/check/op_registry.h"

namespace wyvern {
namespace {

const BenchShape& Defaults() {
  static const BenchShape shape({{"tokens", 64},
                                 {"heads", 2},
                                 {.key = "window", .value = 0, .least = 0},
                                 {.key = "kind", .choices = {"delta", "gdn"}}});
  return shape;
}

std::string ErrorOf(const std::string& text) {
  const auto shape = ParseBenchShape(text, "toy", Defaults());
  return shape.ok() ? "no error" : std::string(shape.status().message());
}

TEST(OpShape, ChangesTheSizesThatAreGiven) {
  const auto shape = ParseBenchShape("kind=gdn,tokens=128", "toy", Defaults());
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->ToString(), "tokens=128,heads=2,window=0,kind=gdn");
  EXPECT_EQ((*shape)["kind"], 1);
}

TEST(OpShape, NamesWhatIsWrong) {
  EXPECT_EQ(ErrorOf("head=4"),
            "--shape: toy has no size 'head'; did you mean 'heads'? (of tokens, heads, window, "
            "kind)");
  EXPECT_EQ(ErrorOf("kind=gnd"),
            "--shape: kind cannot be 'gnd'; did you mean 'gdn'? (of delta, gdn)");
  EXPECT_EQ(ErrorOf("heads=0"),
            "--shape: heads must be a whole number from 1 to 2147483647, not '0'");
  EXPECT_EQ(ErrorOf("window=0"), "no error");
  EXPECT_EQ(ErrorOf("tokens=1e3"),
            "--shape: tokens must be a whole number from 1 to 2147483647, not '1e3'");
  EXPECT_EQ(ErrorOf("tokens"), "--shape: expected key=value, found 'tokens'");
  EXPECT_EQ(ErrorOf("heads=1,heads=2"), "--shape: heads is given twice");
}

TEST(OpShape, EveryOpHasShapesOfOneSetOfKeysThatMakeACase) {
  for (const OpRow& row : OpRegistry()) {
    for (const Device device : {Device::kCpu, Device::kMeta}) {
      const std::vector<BenchShape> shapes = row.bench_shapes(device);
      ASSERT_FALSE(shapes.empty()) << row.name;
      for (const BenchShape& shape : shapes) {
        // The text of a shape makes that shape.
        const auto again = ParseBenchShape(shape.ToString(), row.name, shapes[0]);
        ASSERT_TRUE(again.ok()) << row.name << ": " << again.status();
        EXPECT_EQ(again->ToString(), shape.ToString());
      }
    }
  }
}

TEST(OpShape, AnOpSaysWhichSizesDoNotFitTogether) {
  for (const OpRow& row : OpRegistry()) {
    if (row.name != "attention") continue;
    const BenchShape shape = row.bench_shapes(Device::kCpu)[0];
    EXPECT_EQ(row.bench(shape.With({{"tokens", 100}, {"documents", 16}}), Device::kCpu)
                  .status()
                  .message(),
              "100 tokens do not make 16 documents of one length");
    EXPECT_EQ(
        row.bench(shape.With({{"heads", 3}, {"kv_heads", 2}}), Device::kCpu).status().message(),
        "3 heads cannot share 2 key heads evenly");
  }
}

}  // namespace
}  // namespace wyvern
