// The decays of the gated delta rule as parameters of a test.
#ifndef WYVERN_TESTS_AUTOGRAD_OPS_DELTA_RULE_DECAYS_H_
#define WYVERN_TESTS_AUTOGRAD_OPS_DELTA_RULE_DECAYS_H_

#include <gtest/gtest.h>

#include <string>

#include "autograd/ops/delta_rule/gated_delta_rule.h"

namespace wyvern {

inline auto EveryDecay() {
  return testing::Values(DeltaDecay::kNone, DeltaDecay::kPerHead, DeltaDecay::kPerChannel);
}

inline std::string DecayName(const testing::TestParamInfo<DeltaDecay>& info) {
  return info.param == DeltaDecay::kNone      ? "None"
         : info.param == DeltaDecay::kPerHead ? "PerHead"
                                              : "PerChannel";
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_AUTOGRAD_OPS_DELTA_RULE_DECAYS_H_
