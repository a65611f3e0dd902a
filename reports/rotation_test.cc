#include "reports/rotation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reports/prometheus.h"
#include "reports/record.h"
#include "reports/terminal.h"

namespace reports {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t ms = 1'000'000;
constexpr const char* web = "spiffe://cluster.local/ns/default/sa/web";

RotationRecord record() {
  RotationRecord rotation;
  rotation.steps.push_back({.environment = "strict",
                            .number = 0,
                            .traffic = {{.name = "new_connections", .longest_gap_ns = 12 * ms}}});
  rotation.steps.push_back(
      {.environment = "strict",
       .number = 1,
       .step = "leaf",
       .at_ns = 2000 * ms,
       .traffic = {{.name = "new_connections",
                    .answered = 270,
                    .failed = {{"refused", 12}, {"reset", 18}},
                    .longest_gap_ns = 310 * ms},
                   {.name = "kept_connections", .longest_gap_ns = 11 * ms, .went_on = 3}},
       .renewals = {{.pod = "web-0", .identity = web, .serial = "4A", .shown_ns = 9 * ms},
                    {.pod = "web-1", .identity = web, .serial = "4B", .shown_ns = 23 * ms}},
       .handshakes = 270,
       .resumed = 8});
  auto missed = rotation.steps.back();
  missed.number = 2;
  missed.not_renewed = {"web-1"};
  missed.traffic.front().failed.clear();
  rotation.steps.push_back(missed);
  rotation.expired.push_back(
      {.environment = "strict",
       .pod = "web-1",
       .identity = web,
       .serial = "4B",
       .expired_at_ns = 5000 * ms,
       .since = {{.name = "new_connections", .answered = 3, .failed = {{"reset", 900}}}}});
  return rotation;
}

TEST(RotationText, ShowsEachStepWithWhatWasNoticed) {
  const auto text = rotation_text(record(), {.width = 170});
  EXPECT_THAT(text, HasSubstr("before"));
  EXPECT_THAT(text, HasSubstr("1 leaf"));
  EXPECT_THAT(text, HasSubstr("23.0 ms")) << "the slowest of them";
  EXPECT_THAT(text, HasSubstr("12 refused, 18 reset"));
  EXPECT_THAT(text, HasSubstr("310 ms"));
  EXPECT_THAT(text, HasSubstr("not by web-1"));
  EXPECT_THAT(text, HasSubstr("270 (8 resumed)"));
  EXPECT_EQ(rotation_text({}, {}), "");
}

TEST(RotationText, NamesWhatExpired) {
  EXPECT_THAT(rotation_text(record(), {.width = 400}),
              HasSubstr("strict: spiffe://cluster.local/ns/default/sa/web of web-1 (serial 4B) "
                        "expired 5.00 s after traffic began; since then of new_connections 3 "
                        "answered, failed: 900 reset"));
}

TEST(RotationText, FitsANarrowTerminal) {
  auto rotation = record();
  rotation.expired.clear();
  const auto text = rotation_text(rotation, {.width = 60});
  EXPECT_THAT(text, HasSubstr("1 leaf"));
  EXPECT_THAT(text, Not(HasSubstr("resumed")));
}

TEST(RotationMetrics, AreGaugesByStepTrafficAndPod) {
  Report report{.question = "?", .target = "lab"};
  report.rotation = record();
  const auto text = render_prometheus(report);
  EXPECT_THAT(text, HasSubstr("rotation_failed_requests{"));
  EXPECT_THAT(text, HasSubstr("class=\"refused\""));
  EXPECT_THAT(text, HasSubstr("rotation_longest_gap_seconds{"));
  EXPECT_THAT(text, HasSubstr("rotation_shown_seconds{"));
  EXPECT_THAT(text, HasSubstr("certificate_expired{"));
  EXPECT_THAT(render_terminal(report, {.width = 170}, ""),
              HasSubstr("While certificates are rotated"));
}

TEST(RotationRecord, SurvivesItsJson) {
  const auto json = base::to_json(record());
  const auto again = base::from_json<RotationRecord>(json);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(base::to_json(*again), json);
}

}  // namespace
}  // namespace reports
