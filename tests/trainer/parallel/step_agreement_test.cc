// Threads of this process tell each other what ranks do once a step.
#include "trainer/parallel/step_agreement.h"

#include <gtest/gtest.h>

#include "tests/support/on_ranks.h"

namespace wyvern {
namespace {

TEST(StepAgreement, WhatOneRankKnowsAllKnow) {
  for (const int size : {1, 2, 4, 7}) {
    OnRanks(size, [&](World* world) {
      StepAgreement agreement(world, /*context=*/1);
      const int last = size - 1;
      const bool is_last = world->rank() == last;
      // Each kind of news by itself, from the last rank, and then none.
      for (int kind = 0; kind < 5; ++kind) {
        agreement.Start({.data_failed = is_last && kind == 0,
                         .next_targets = 100 * kind + world->rank(),
                         .log_failed = is_last && kind == 1,
                         .stop_signal = is_last && kind == 2 ? 15 : 0,
                         .saver_busy = is_last && kind == 3,
                         .waits = {}});
        agreement.Progress();
        // The step that goes on has the targets of which the one before told.
        EXPECT_EQ(agreement.num_targets(),
                  kind == 0 ? 0 : size * 100 * (kind - 1) + size * (size - 1) / 2);
        const StepNews& news = agreement.Finish();
        EXPECT_EQ(&news, &agreement.news());
        EXPECT_EQ(news.data_failed, kind == 0);
        EXPECT_EQ(news.next_targets, size * 100 * kind + size * (size - 1) / 2);
        EXPECT_EQ(news.log_failed, kind == 1);
        EXPECT_EQ(news.stop_signal, kind == 2 ? 15 : 0);
        EXPECT_EQ(news.saver_busy, kind == 3);
        EXPECT_LE(news.waits.least, news.waits.most);
        EXPECT_TRUE(0 <= news.waits.slowest && news.waits.slowest < size) << news.waits.slowest;
      }
      EXPECT_EQ(agreement.num_exchanges(), 5);
    });
  }
}

TEST(StepAgreement, RanksOfAContextGroupCountTheSameTargets) {
  OnRanks(4, [](World* world) {
    StepAgreement agreement(world, /*context=*/2);
    agreement.Start({.data_failed = false,
                     .next_targets = world->rank() < 2 ? 30 : 12,
                     .log_failed = false,
                     .stop_signal = 0,
                     .saver_busy = false,
                     .waits = {}});
    EXPECT_EQ(agreement.Finish().next_targets, 42);
  });
}

}  // namespace
}  // namespace wyvern
