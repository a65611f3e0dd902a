#include "bench/read_ahead.h"

#include <vector>

#include <gtest/gtest.h>

namespace bench {
namespace {

struct FakeFlow {
  FakeFlow* follower = nullptr;
  bool there = false;  // its reply is
};

class ReadAheadTest : public ::testing::Test {
 protected:
  // A pass in which epoll told of one flow, and what was read ahead after it.
  std::size_t pass(std::size_t told, std::size_t most = 64) {
    reads_ = 0;
    take(flows_[told]);
    ahead_.after_pass(
        most, [](const FakeFlow&) { return true; },
        [&](FakeFlow& flow) {
          ++reads_;
          if (flow.there) take(flow);
        });
    return reads_;
  }
  void take(FakeFlow& flow) {
    flow.there = false;
    ahead_.answered(flow);
  }
  // All replies of the flows in this order are there; each is taken when epoll tells of it.
  void learn(const std::vector<std::size_t>& order) {
    for (const auto flow : order) take(flows_[flow]);
  }

  std::vector<FakeFlow> flows_{8};
  ReadAhead<FakeFlow> ahead_;
  std::size_t reads_ = 0;
};

TEST_F(ReadAheadTest, FollowsTheOrderOfTheLastRoundUntilAReplyIsNotThere) {
  learn({0, 3, 1, 2});
  flows_[3].there = true;
  flows_[1].there = true;
  EXPECT_EQ(pass(0), 3U);  // 3, 1, and 2 in vain
  EXPECT_FALSE(flows_[3].there || flows_[1].there);
}

TEST_F(ReadAheadTest, ReadsNothingBeforeItHasSeenAnOrder) {
  EXPECT_EQ(pass(0), 0U);
  EXPECT_EQ(pass(0), 0U);  // a flow does not follow itself
}

TEST_F(ReadAheadTest, EndsAfterSoMany) {
  learn({0, 1, 2, 3, 4});
  for (auto& flow : flows_) flow.there = true;
  EXPECT_EQ(pass(0, 2), 2U);
}

TEST_F(ReadAheadTest, RestsLongerWithEveryMissAndNoMoreAfterAHit) {
  // Two flows in turn, the other's reply never there when it is guessed.
  std::size_t reads = 0;
  for (std::size_t i = 0; i < 1000; ++i) reads += pass(i % 2);
  EXPECT_LT(reads, 25U);
  EXPECT_GT(reads, 10U);
  // Within 64 passes it guesses again; from the first hit on it does after every pass.
  std::size_t hits = 0;
  for (std::size_t i = 0; i < 100; ++i) {
    flows_[(i + 1) % 2].there = true;
    hits += pass(i % 2, 1);
    if (flows_[(i + 1) % 2].there) continue;
    take(flows_[i % 2]);  // as epoll tells of it next
  }
  EXPECT_GE(hits, 100U - 64U);
}

TEST_F(ReadAheadTest, LeavesFlowsAloneThatWaitForNothing) {
  learn({0, 1, 0});
  ahead_.after_pass(64, [](const FakeFlow&) { return false; }, [](FakeFlow&) { FAIL(); });
}

}  // namespace
}  // namespace bench
