#include "kernels/head/token_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace wyvern {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(TokenScores, AreLogarithmsOfTheSoftmax) {
  const std::vector<float> logits = {0,     1000,  1000,  999,    //
                                     1,     2,     kNan,  -kInf,  //
                                     1,     2,     kNan,  -kInf,  //
                                     kNan,  kNan,  kNan,  kNan,   //
                                     1,     kInf,  2,     3,      //
                                     -kInf, -kInf, -kInf, -kInf};
  const std::vector<int32_t> tokens = {2, 0, 2, 1, 0, 0};
  std::vector<double> log_likelihood(6);
  std::vector<int32_t> most_likely(6);
  TokenScores(CpuTag(), {.num_rows = 6,
                         .vocab_size = 4,
                         .logits = logits.data(),
                         .tokens = tokens.data(),
                         .log_likelihood = log_likelihood.data(),
                         .most_likely = most_likely.data()});
  EXPECT_EQ(most_likely, (std::vector<int32_t>{1, 1, 1, -1, -1, -1}));
  EXPECT_NEAR(log_likelihood[0], -std::log(2 + std::exp(-1.0)), 1e-15);
  EXPECT_NEAR(log_likelihood[1], -1 - std::log(1 + std::exp(-1.0)), 1e-15);
  EXPECT_EQ(log_likelihood[2], -std::numeric_limits<double>::infinity());
}

TEST(TokenScores, OfARowDoNotDependOnTheOthers) {
  constexpr int64_t kRows = 7, kVocab = 9000;
  std::vector<float> logits(kRows * kVocab);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 1009) / 90;
  const std::vector<int32_t> tokens = {1, 20, 300, 4000, 5000, 60, 7};
  std::vector<double> together(kRows);
  std::vector<int32_t> best(kRows);
  const auto score = [&](int64_t first, int64_t rows, double* values) {
    TokenScores(CpuTag(), {.num_rows = rows,
                           .vocab_size = kVocab,
                           .logits = logits.data() + first * kVocab,
                           .tokens = tokens.data() + first,
                           .log_likelihood = values,
                           .most_likely = best.data()});
  };
  score(0, kRows, together.data());
  for (int64_t t = 0; t < kRows; ++t) {
    double alone = 0;
    score(t, 1, &alone);
    EXPECT_EQ(alone, together[t]) << "row " << t;
  }
}

}  // namespace
}  // namespace wyvern
