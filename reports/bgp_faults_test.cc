#include "reports/bgp_faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reports/prometheus.h"
#include "reports/record.h"

namespace reports {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t ms = 1'000'000;

std::vector<BgpFaultRecord> faults() {
  BgpFaultRecord lost{.kind = "speaker_lost",
                      .node = 2,
                      .restart_time_s = 5,
                      .predicted = "the restart time",
                      .verdict = base::Verdict::pass};
  for (const int i : {0, 1, 2}) {
    lost.repetitions.push_back({.ended_by = "FIN",
                                .down_ns = 2 * ms,
                                .up_ns = (12'002 + 1000 * i) * ms,
                                .stale_ns = (5002 + i) * ms,
                                .stale_predicted_ns = 5001 * ms,
                                .lost = static_cast<std::uint64_t>(i)});
  }
  BgpFaultRecord refused{.kind = "wrong_asn", .node = 1, .verdict = base::Verdict::fail};
  refused.repetitions.push_back({.ended_by = "NOTIFICATION Cease (6/0) of the node"});
  return {lost, refused};
}

TEST(BgpFaultTable, ShowsRangesAndLeavesOutWhatWasNotSeen) {
  const auto table = bgp_fault_table(faults(), {.width = 140});
  EXPECT_THAT(table, HasSubstr("speaker_lost 2"));
  EXPECT_THAT(table, HasSubstr("12.0 s to 14.0 s"));
  EXPECT_THAT(table, HasSubstr("0 to 2"));
  EXPECT_THAT(table, HasSubstr("NOTIFICATION Cease (6/0) of the node"));
  EXPECT_EQ(bgp_fault_table({}, {}), "");
}

TEST(BgpFaultTable, FitsANarrowTerminal) {
  const auto table = bgp_fault_table(faults(), {.width = 60});
  EXPECT_THAT(table, HasSubstr("stale route"));
  EXPECT_THAT(table, Not(HasSubstr("NOTIFICATION")));
}

TEST(BgpFaultRanges, AreOfWhatWasSeen) {
  EXPECT_EQ(range_of({}), std::nullopt);
  const auto range = downtime_of(faults()[0]);
  ASSERT_TRUE(range);
  EXPECT_EQ(range->least, 12'000 * ms);
  EXPECT_EQ(range->middle, 13'000 * ms);
  EXPECT_EQ(range->most, 14'000 * ms);
  EXPECT_FALSE(stale_of(faults()[1]));
}

TEST(BgpFaultMetrics, AreGaugesByFaultNodeAndBound) {
  Report report{.question = "?", .target = "lab"};
  report.bgp_faults = faults();
  const auto text = render_prometheus(report);
  EXPECT_THAT(text, HasSubstr("bgp_fault_downtime_seconds"));
  EXPECT_THAT(text, HasSubstr("fault=\"speaker_lost\""));
  EXPECT_THAT(text, HasSubstr("bound=\"most\""));
  EXPECT_THAT(text, Not(HasSubstr("bgp_fault_stale_route_seconds{fault=\"wrong_asn\"")));
}

}  // namespace
}  // namespace reports
