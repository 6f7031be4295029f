#include "trainer/evaluation/bootstrap.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

// The value that lm-eval's bootstrap_stderr gives on CPython 3.11 for 2000 drawings.
TEST(Bootstrap, DrawsAsPythonDoes) {
  EXPECT_NEAR(PerplexityError({-1.5, -0.25, -3.0, -2.0, -0.125}, /*rounds=*/2), 2.316030802430154,
              1e-12);
}

}  // namespace
}  // namespace wyvern
