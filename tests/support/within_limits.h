#ifndef WYVERN_TESTS_SUPPORT_WITHIN_LIMITS_H_
#define WYVERN_TESTS_SUPPORT_WITHIN_LIMITS_H_

#include <gtest/gtest.h>

#include <vector>

#include "autograd/check/op_check.h"

namespace wyvern {

// There are results, and each is within its limit.
inline void ExpectWithinLimits(const std::vector<CheckResult>& results) {
  EXPECT_FALSE(results.empty()) << "nothing was checked";
  for (const CheckResult& r : results) {
    EXPECT_TRUE(r.passed()) << "[" << r.op << "] case '" << r.case_name << "', " << r.check << ": "
                            << r.quantity << " is off by " << r.error << ", the limit is "
                            << r.limit;
  }
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_SUPPORT_WITHIN_LIMITS_H_
