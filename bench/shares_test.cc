#include "bench/shares.h"

#include <array>
#include <random>

#include <gtest/gtest.h>

#include "bench/stamps.h"

namespace bench {
namespace {

WorkloadSpec whole(double rate, int connections) {
  WorkloadSpec spec;
  spec.rate = base::RequestRate{rate};
  spec.connections = connections;
  spec.generators = 8;
  return spec;
}

TEST(ShareOf, SharesAddUpToTheWhole) {
  for (const int generators : {1, 2, 4, 8}) {
    double rate = 0;
    int connections = 0;
    for (int i = 0; i < generators; ++i) {
      const auto share = share_of(whole(10'000, 11), i, generators);
      EXPECT_GE(share.connections, 1);
      EXPECT_EQ(share.generators, 1);
      rate += share.rate->per_second;
      connections += share.connections;
    }
    EXPECT_DOUBLE_EQ(rate, 10'000) << generators;
    EXPECT_EQ(connections, 11) << generators;
  }
}

TEST(ShareOf, AClosedLoopHasNoRateToShare) {
  auto spec = whole(1, 4);
  spec.rate.reset();
  EXPECT_FALSE(share_of(spec, 1, 2).rate);
  EXPECT_EQ(share_of(spec, 1, 2).connections, 2);
}

// One of eight generators, with latencies of its own.
Share share(int index, base::Histogram& pooled) {
  Share made;
  auto& result = made.result;
  result.loop = "open";
  std::mt19937 random(static_cast<unsigned>(index));
  std::lognormal_distribution<double> latency(10 + 0.1 * index, 0.5);
  for (int i = 0; i < 1000 + index; ++i) {
    const auto value = static_cast<std::uint64_t>(latency(random));
    result.latency.record(value);
    pooled.record(value);
  }
  result.requests = result.latency.count();
  result.rate_per_second = static_cast<double>(result.requests) / 0.5;
  result.cpu_user_ns = 1'000'000;
  result.cpu_system_ns = 3'000'000;
  result.utilisation = 0.1 * index;
  result.answered_by["1"] = result.requests;
  result.errors.refused = 1;
  result.start_ns = 1'000'000'000 + index;
  result.end_ns = 1'500'000'000 + index;
  return made;
}

TEST(MergeShares, PercentilesAreThoseOfThePooledSamples) {
  for (const int generators : {1, 2, 4, 8}) {
    base::Histogram pooled;
    std::vector<Share> shares;
    for (int i = 0; i < generators; ++i) shares.push_back(share(i, pooled));
    const auto merged = merge_shares(shares);
    ASSERT_TRUE(merged) << merged.error().message;
    EXPECT_TRUE(merged->latency == pooled) << generators;
    for (const double q : {0.5, 0.9, 0.99}) {
      EXPECT_EQ(merged->latency.quantile(q), pooled.quantile(q)) << q;
    }
    EXPECT_EQ(merged->requests, pooled.count());
    EXPECT_EQ(merged->answered_by.at("1"), pooled.count());
    EXPECT_EQ(merged->errors.refused, static_cast<std::uint64_t>(generators));
    EXPECT_DOUBLE_EQ(merged->rate_per_second, static_cast<double>(pooled.count()) / 0.5);
    EXPECT_EQ(merged->cpu_per_request_ns,
              std::int64_t{4'000'000} * generators / static_cast<std::int64_t>(pooled.count()));
    EXPECT_DOUBLE_EQ(merged->utilisation, 0.1 * (generators - 1));
  }
}

TEST(MergeShares, StampsAreOnOurClock) {
  base::Histogram pooled;
  std::array shares{share(0, pooled), share(1, pooled)};
  shares[1].clock_offset = std::chrono::seconds(5);
  shares[1].result.start_ns += 5'000'000'000;
  shares[1].result.end_ns += 5'000'000'000;
  shares[1].result.failures = {
      {.due_ns = 6'200'000'000, .begun_ns = 6'200'000'000, .ended_ns = 6'300'000'000}};
  const auto merged = merge_shares(shares);
  ASSERT_TRUE(merged);
  EXPECT_EQ(merged->start_ns, 1'000'000'000);
  EXPECT_EQ(merged->end_ns, 1'500'000'001);
  EXPECT_EQ(merged->failures.front().ended_ns, 1'300'000'000);
}

TEST(OnOurClock, AServersStampsAreWhatOurClockWouldHaveMadeThem) {
  const auto moved = on_our_clock(ServerResult{.requests = 2, .arrivals_ns = {900, 1000}},
                                  std::chrono::nanoseconds(-50));
  EXPECT_EQ(moved.arrivals_ns, (std::vector<std::int64_t>{950, 1050}));
  EXPECT_EQ(moved.requests, 2U);
}

TEST(MergeShares, OneThatFlagsItselfFlagsAll) {
  base::Histogram pooled;
  std::array shares{share(0, pooled), share(1, pooled)};
  EXPECT_FALSE(merge_shares(shares)->generator_limited);
  shares[1].result.generator_limited = true;
  EXPECT_TRUE(merge_shares(shares)->generator_limited);
}

TEST(MergeShares, RefusesWhatDoesNotBelongTogether) {
  EXPECT_FALSE(merge_shares({}));
  base::Histogram pooled;
  std::array shares{share(0, pooled), share(1, pooled)};
  shares[1].result.kind = WorkloadKind::tcp_crr;
  EXPECT_FALSE(merge_shares(shares));
  shares[0].result.kind = WorkloadKind::tcp_stream;
  EXPECT_FALSE(merge_shares(std::span(shares).first(1)));
}

}  // namespace
}  // namespace bench
