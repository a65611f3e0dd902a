#include "bench/measure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bench {
namespace {

using std::chrono::microseconds;
using ::testing::ElementsAre;
using ::testing::Pair;

base::Histogram histogram_of(std::uint64_t value, int count) {
  base::Histogram histogram;
  for (int i = 0; i < count; ++i) histogram.record(value);
  return histogram;
}

TEST(LittlesLaw, ResidualIsTheShareOfTimeThatBelongsToNoRequest) {
  // 4 requesters, 1 ms each, 4,000 per second: every moment is accounted for.
  EXPECT_NEAR(littles_law_residual(1e6, 4'000, 4), 0, 1e-12);
  // At 3,600 per second a tenth of each requester's time is nobody's.
  EXPECT_NEAR(littles_law_residual(1e6, 3'600, 4), 0.1, 1e-12);
}

TEST(GeneratorLimited, BlamesLatenessAboveATenthOfLatency) {
  const auto latency = histogram_of(100'000, 1'000);
  EXPECT_FALSE(generator_limited(latency, histogram_of(9'000, 1'000), 0.5));
  EXPECT_TRUE(generator_limited(latency, histogram_of(11'000, 1'000), 0.5));
}

TEST(GeneratorLimited, BlamesACoreWithoutRoom) {
  const auto latency = histogram_of(100'000, 1'000);
  EXPECT_FALSE(generator_limited(latency, base::Histogram(), 0.94));
  EXPECT_TRUE(generator_limited(latency, base::Histogram(), 0.96));
}

TEST(AnswerTally, CountsEveryIdentityApart) {
  AnswerTally tally;
  for (const std::uint32_t id : {0U, 7U, 7U, 0U, 9U, 0U}) tally.count(id);
  EXPECT_THAT(tally.by_name(), ElementsAre(Pair("0", 3U), Pair("7", 2U), Pair("9", 1U)));
}

TEST(AnswerTally, LosesNoReplyToTooManyIdentities) {
  AnswerTally tally;
  for (std::uint32_t id = 0; id < 300; ++id) tally.count(id);
  std::uint64_t total = 0;
  for (const auto& [name, requests] : tally.by_name()) total += requests;
  EXPECT_EQ(total, 300U);
  EXPECT_EQ(tally.by_name().at("other"), 44U);
}

TEST(Meter, WorksOutTheRateOverTheWindow) {
  const ClientJob job;
  Meter meter(job, WaitStrategy::block);
  const auto begin = meter.open_window(base::MonotonicTime{1'000'000'000});
  for (int i = 0; i < 50; ++i) meter.request_done(microseconds(20), 3);
  meter.close_window(begin + std::chrono::milliseconds(1));
  const auto result = meter.result();
  EXPECT_EQ(result.requests, 50U);
  EXPECT_DOUBLE_EQ(result.rate_per_second, 50'000);
  EXPECT_EQ(result.end_ns - result.start_ns, 1'000'000);
  EXPECT_DOUBLE_EQ(result.littles_law_residual, 0);
  EXPECT_FALSE(result.littles_law_violated);
  EXPECT_THAT(result.answered_by, ElementsAre(Pair("3", 50U)));
}

TEST(Meter, FlagsALoopThatLosesTime) {
  const ClientJob job;
  Meter meter(job, WaitStrategy::block);
  const auto begin = meter.open_window(base::MonotonicTime{1'000'000'000});
  // 50 requests of 20 us fill 1 ms; this window lasted 1.1 ms.
  for (int i = 0; i < 50; ++i) meter.request_done(microseconds(20), 3);
  meter.close_window(begin + microseconds(1'100));
  EXPECT_NEAR(meter.result().littles_law_residual, 1 - 1 / 1.1, 1e-9);
  EXPECT_TRUE(meter.result().littles_law_violated);
}

TEST(Meter, CountsTimeBesideLatencyTowardsLittlesLaw) {
  ClientJob job;
  job.workload.kind = WorkloadKind::tcp_crr;
  Meter meter(job, WaitStrategy::block);
  const auto begin = meter.open_window(base::MonotonicTime{1'000'000'000});
  for (int i = 0; i < 40; ++i) {
    meter.request_done(microseconds(20), 3);
    meter.occupied_beyond_latency(microseconds(5));
  }
  meter.close_window(begin + std::chrono::milliseconds(1));
  EXPECT_NEAR(meter.result().littles_law_residual, 0, 1e-12);
}

TEST(Meter, FirstConnectErrorNamesTheServer) {
  ClientJob job;
  const auto server = *base::Endpoint::parse("10.0.0.1:7001");
  Meter meter(job, WaitStrategy::block);
  meter.connect_failed(ECONNREFUSED, server);
  meter.connect_failed(ETIMEDOUT, server);
  EXPECT_TRUE(meter.nothing_ever_connected());
  EXPECT_EQ(meter.first_connect_error().message, "connect 10.0.0.1:7001: Connection refused");
  EXPECT_EQ(meter.first_connect_error().kind, base::ErrorKind::workload);
  EXPECT_EQ(meter.errors().refused, 1U);
  EXPECT_EQ(meter.errors().timed_out, 1U);
}

}  // namespace
}  // namespace bench
