#include "reports/plaintext_window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reports/prometheus.h"
#include "reports/record.h"

namespace reports {
namespace {

using testing::HasSubstr;

std::vector<PlaintextWindowRecord> example() {
  PlaintextRepetition clean{.acked_ns = 2'000,
                            .programmed_ns = 400'000'000,
                            .knocks = 1'200,
                            .knocks_readable = 1'200,
                            .asked = 900,
                            .failed = 41,
                            .outage_ns = 42'000'000,
                            .blind_ns = 600'000};
  auto planted = clean;
  planted.listening_ns = 420'000'000;
  planted.intercepted_ns = 470'400'000;
  planted.answered = {.times = 101,
                      .first_ns = 420'300'000,
                      .last_ns = 470'200'000,
                      .length_ns = 50'300'000,
                      .error_ns = 700'000};
  auto hole = clean;
  hole.readable = {.times = 900,
                   .first_ns = -90'000'000,
                   .last_ns = 899'000'000,
                   .length_ns = 990'000'000,
                   .error_ns = 300'000,
                   .closed = false};
  return {{.environment = "strict",
           .change = "proxy_crash",
           .pod = "web-0",
           .repetitions = {clean, clean}},
          {.environment = "application_first",
           .change = "pod_start",
           .pod = "web-0",
           .budget_ns = 100'000'000,
           .repetitions = {clean, planted}},
          {.environment = "hole", .change = "policy_flip", .repetitions = {hole, planted}}};
}

TEST(PlaintextWindowTable, SaysAnswersAndWhatWasReadableApart) {
  const auto text = plaintext_window_table(example(), {.width = 320});
  EXPECT_THAT(text, HasSubstr("answered"));
  EXPECT_THAT(text, HasSubstr("pod_start of web-0"));
  EXPECT_THAT(text, HasSubstr("50.3 ms +- 700 us"));
  EXPECT_THAT(text, HasSubstr("990 ms +- 300 us, not closed"));
  EXPECT_THAT(text, HasSubstr("82 of 1800"));
  EXPECT_THAT(text, HasSubstr("2400 of 2400"));
}

TEST(PlaintextWindowRecord, NamesTheLongestThatDidNotCloseFirst) {
  const auto records = example();
  EXPECT_EQ(longest_of(records[0], &PlaintextRepetition::answered).times, 0U);
  EXPECT_EQ(longest_of(records[1], &PlaintextRepetition::answered).length_ns, 50'300'000);
  EXPECT_FALSE(longest_of(records[2], &PlaintextRepetition::readable).closed);
}

TEST(PlaintextWindowRecord, IsReadAsItIsWritten) {
  const auto json = base::to_json(example()[1]);
  const auto read = base::from_json<PlaintextWindowRecord>(json, "window");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(base::to_json(*read), json);
}

TEST(PlaintextWindowRecord, IsExposedToPrometheus) {
  Report report;
  report.scenario.file = "scenarios/mtls-plaintext-window.yaml";
  report.plaintext_windows = example();
  const auto text = render_prometheus(report);
  EXPECT_THAT(text, HasSubstr("plaintext_window_seconds{"));
  EXPECT_THAT(text, HasSubstr("plaintext=\"answered\""));
  EXPECT_THAT(text, HasSubstr("0.0503"));
  EXPECT_THAT(text, HasSubstr("mesh_change_outage_seconds{"));
}

}  // namespace
}  // namespace reports
