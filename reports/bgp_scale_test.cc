#include "reports/bgp_scale.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reports/prometheus.h"
#include "reports/record.h"

namespace reports {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<BgpScalePoint> points() {
  constexpr std::int64_t ms = 1'000'000;
  BgpScalePoint few{.services = 10,
                    .announced = true,
                    .rounds = 3,
                    .first_update_ns = 4 * ms,
                    .all_updates_ns = 6 * ms,
                    .sink_updates_ns = 3 * ms,
                    .all_told_ns = 7 * ms,
                    .all_routes_ns = 9 * ms,
                    .update = LatencySummary{.p50_ns = 5 * ms, .p99_ns = {}, .max_ns = 6 * ms},
                    .peer = {.cpu_ns = 2 * ms, .memory_bytes = 30'000'000}};
  auto many = few;
  many.services = 1000;
  many.announced = false;
  many.all_routes_ns.reset();
  many.update->p99_ns = 8 * ms;
  return {few, many};
}

TEST(BgpScale, TablesHaveARowForEveryPoint) {
  const auto text = bgp_scale_tables(points(), {.charset = base::Charset::ascii, .width = 160});
  EXPECT_THAT(text, HasSubstr("addresses"));
  EXPECT_THAT(text, HasSubstr("10  announced"));
  EXPECT_THAT(text, HasSubstr("1000  withdrawn"));
  EXPECT_THAT(text, HasSubstr("5.00 ms / - / 6.00 ms"));
  EXPECT_THAT(text, HasSubstr("5.00 ms / 8.00 ms / 6.00 ms"));
  EXPECT_THAT(text, HasSubstr("30.0 MB"));
  EXPECT_THAT(text, HasSubstr("to a sink"));
  EXPECT_THAT(text, HasSubstr("6.00 ms    3.00 ms"));
  EXPECT_EQ(bgp_scale_tables({}, {}), "");
}

TEST(BgpScale, WhatWasNotSeenIsNoFigure) {
  Report report;
  report.scenario.file = "bgp-scale.yaml";
  report.bgp_scale = points();
  const auto text = render_prometheus(report);
  EXPECT_THAT(text, HasSubstr("stackbench_bgp_scale_seconds{scenario=\"bgp-scale\",services=\"10\","
                              "change=\"announced\",event=\"last_route\"} 0.009"));
  EXPECT_THAT(text, Not(HasSubstr("services=\"1000\",change=\"withdrawn\",event=\"last_route\"")));
  EXPECT_THAT(text, HasSubstr("services=\"1000\",change=\"withdrawn\",span=\"write_to_update\","
                              "percentile=\"99\"} 0.008"));
}

}  // namespace
}  // namespace reports
