#include "reports/conclude.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace reports {
namespace {

// A complete run of one arm, whose one kept block had no failed request.
Report measured() {
  Report report;
  report.complete = true;
  report.arms = {{.name = "direct", .dial = "pod/web"}};
  report.workloads = {{.name = "tcp_rr", .summary = ""}};
  report.blocks = {{.index = 0, .state = BlockState::warm_up, .noise = {}, .order = {}},
                   {.index = 1, .state = BlockState::kept, .noise = {}, .order = {}}};
  report.samples.emplace_back();
  report.samples.back().block = 1;
  report.samples.back().requests = 1000;
  report.noise = summarise_noise(report.blocks, {});
  return report;
}

void expect(Report& report, Verdict verdict) {
  Expectation expectation;
  expectation.text = "latency.p50 of direct at most 250us";
  expectation.verdict = verdict;
  report.expectations.push_back(expectation);
}

void check(Report& report, Verdict verdict) {
  Check made;
  made.name = "translated_at";
  made.arm = "direct";
  made.verdict = verdict;
  report.checks.push_back(made);
}

enum class Ingredient {
  expectation_passes,
  expectation_fails,
  expectation_inconclusive,
  expectation_skipped,
  expectation_invalid,
  check_passes,
  check_fails,
  check_inconclusive,
  check_skipped,
  check_invalid,
  too_disturbed,
  request_failed,
  request_failed_in_warm_up,
  setup_error,
  workload_error,
  interrupt_error,
  incomplete,
  signalled,
  all_arms_skipped,
  nothing_kept,
};

void add(Report& report, Ingredient ingredient) {
  switch (ingredient) {
    case Ingredient::expectation_passes:
      return expect(report, Verdict::pass);
    case Ingredient::expectation_fails:
      return expect(report, Verdict::fail);
    case Ingredient::expectation_inconclusive:
      return expect(report, Verdict::inconclusive);
    case Ingredient::expectation_skipped:
      return expect(report, Verdict::skip);
    case Ingredient::expectation_invalid:
      return expect(report, Verdict::invalid);
    case Ingredient::check_passes:
      return check(report, Verdict::pass);
    case Ingredient::check_fails:
      return check(report, Verdict::fail);
    case Ingredient::check_inconclusive:
      return check(report, Verdict::inconclusive);
    case Ingredient::check_skipped:
      return check(report, Verdict::skip);
    case Ingredient::check_invalid:
      return check(report, Verdict::invalid);
    case Ingredient::too_disturbed:
      report.noise.invalid = true;
      return;
    case Ingredient::request_failed:
      report.samples.back().errors["reset"] = 1;
      return;
    case Ingredient::request_failed_in_warm_up:
      report.samples.back().block = 0;
      report.samples.back().errors["reset"] = 1;
      return;
    case Ingredient::setup_error:
      report.errors.push_back({TroubleKind::setup, "nft: not found in PATH", "Install nftables."});
      return;
    case Ingredient::workload_error:
      report.errors.push_back({TroubleKind::workload, "connect: refused", ""});
      return;
    case Ingredient::interrupt_error:
      report.errors.push_back({TroubleKind::interrupted, "stopped on request", ""});
      return;
    case Ingredient::incomplete:
      report.complete = false;
      return;
    case Ingredient::signalled:
      report.signal = 15;
      return;
    case Ingredient::all_arms_skipped:
      report.arms.front().skipped = "no cgroup2";
      return;
    case Ingredient::nothing_kept:
      report.noise.kept = 0;
      return;
  }
}

struct Case {
  std::vector<Ingredient> with;
  int exit_code;
  std::optional<Verdict> verdict;
};

// Every row: what went into the report, and what must come out.
const std::vector<Case>& cases() {
  using enum Ingredient;
  static const std::vector<Case> all = {
      {{}, 0, std::nullopt},
      {{expectation_passes}, 0, Verdict::pass},
      {{check_passes}, 0, Verdict::pass},
      {{expectation_passes, check_skipped}, 0, Verdict::pass},
      {{request_failed_in_warm_up, check_passes}, 0, Verdict::pass},
      {{expectation_fails}, 1, Verdict::fail},
      {{check_fails}, 1, Verdict::fail},
      {{check_fails, expectation_inconclusive, check_passes}, 1, Verdict::fail},
      {{expectation_fails, expectation_inconclusive}, 1, Verdict::fail},
      {{check_fails, check_invalid}, 1, Verdict::fail},
      {{check_fails, too_disturbed}, 1, Verdict::fail},
      {{setup_error}, 2, std::nullopt},
      {{setup_error, workload_error}, 2, std::nullopt},
      {{setup_error, check_fails}, 2, std::nullopt},
      {{setup_error, request_failed}, 2, std::nullopt},
      {{incomplete, check_passes}, 2, std::nullopt},
      {{incomplete, request_failed}, 2, std::nullopt},
      {{workload_error}, 5, std::nullopt},
      {{workload_error, incomplete}, 5, std::nullopt},
      {{request_failed, expectation_passes}, 5, std::nullopt},
      {{request_failed, check_fails}, 5, std::nullopt},
      {{request_failed, too_disturbed}, 5, std::nullopt},
      {{too_disturbed, expectation_passes}, 4, Verdict::invalid},
      {{too_disturbed, expectation_fails}, 4, Verdict::invalid},
      {{too_disturbed, expectation_inconclusive}, 4, Verdict::invalid},
      {{expectation_invalid, expectation_inconclusive}, 4, Verdict::invalid},
      {{check_invalid, check_skipped}, 4, Verdict::invalid},
      {{expectation_inconclusive, expectation_passes}, 3, Verdict::inconclusive},
      {{check_inconclusive}, 3, Verdict::inconclusive},
      {{expectation_skipped, check_skipped}, 3, Verdict::skip},
      {{all_arms_skipped}, 3, Verdict::skip},
      {{nothing_kept}, 3, Verdict::inconclusive},
      {{nothing_kept, check_passes}, 3, Verdict::inconclusive},
      {{signalled, incomplete}, 143, std::nullopt},
      {{signalled, setup_error, check_fails}, 143, std::nullopt},
      {{interrupt_error, incomplete}, 130, std::nullopt},
  };
  return all;
}

TEST(ExitCode, IsTheFirstThatAppliesOfSignal25143) {
  for (std::size_t i = 0; i < cases().size(); ++i) {
    const auto& row = cases()[i];
    Report report = measured();
    for (const auto ingredient : row.with) add(report, ingredient);
    const auto conclusion = conclude(report);
    EXPECT_EQ(conclusion.exit_code, row.exit_code) << "row " << i;
    EXPECT_EQ(conclusion.verdict, row.verdict) << "row " << i;
    EXPECT_EQ(exit_code(report), row.exit_code) << "row " << i;
    EXPECT_FALSE(conclusion.sentence.empty()) << "row " << i;
  }
}

TEST(Conclusion, NamesWhatFailed) {
  Report report = measured();
  check(report, Verdict::fail);
  expect(report, Verdict::fail);
  expect(report, Verdict::pass);
  EXPECT_EQ(conclude(report).sentence,
            "translated_at of direct; latency.p50 of direct at most 250us.");
}

TEST(Conclusion, NamesAtMostThree) {
  Report report = measured();
  for (int i = 0; i < 5; ++i) check(report, Verdict::fail);
  EXPECT_EQ(
      conclude(report).sentence,
      "translated_at of direct; translated_at of direct; translated_at of direct; and 2 more.");
}

TEST(Conclusion, SaysWhatPassedAndWhatWasSkipped) {
  Report report = measured();
  expect(report, Verdict::pass);
  expect(report, Verdict::pass);
  check(report, Verdict::pass);
  check(report, Verdict::skip);
  EXPECT_EQ(conclude(report).sentence,
            "2 expectations and 1 check passed; skipped: translated_at of direct.");
}

TEST(Conclusion, CountsFailedRequestsByClass) {
  Report report = measured();
  report.samples.back().errors = {{"reset", 2}, {"timed_out", 1}};
  EXPECT_EQ(conclude(report).sentence,
            "3 requests failed (reset, timed_out) beside 1000 completed: no verdict on such "
            "figures.");
}

TEST(Conclusion, WhatEventsAccountForIsNoTrouble) {
  auto report = measured();
  report.samples.back().errors = {{"refused", 3}, {"reset", 1}};
  report.samples.back().failed_by_events = 4;
  EXPECT_EQ(conclude(report).exit_code, 0);
  report.samples.back().failed_by_events = 3;
  EXPECT_EQ(conclude(report).exit_code, 5);
}

TEST(Noise, AQuarterDisturbedIsStillValidAndMoreIsNot) {
  std::vector<Block> blocks(9);
  blocks[0].state = BlockState::warm_up;
  blocks[0].noise.max_gap_ns = 99;
  for (const std::size_t i : {3u, 5u}) blocks[i].state = BlockState::disturbed;
  blocks[3].noise.max_gap_ns = 7;
  blocks[5].noise.lost_share = 0.5;
  const auto quarter = summarise_noise(blocks, {});
  EXPECT_EQ(quarter.kept, 6);
  EXPECT_EQ(quarter.disturbed, 2);
  EXPECT_DOUBLE_EQ(quarter.disturbed_share, 0.25);
  EXPECT_FALSE(quarter.invalid);
  EXPECT_EQ(quarter.max_gap_ns, 7);
  EXPECT_DOUBLE_EQ(quarter.worst_lost_share, 0.5);
  blocks[6].state = BlockState::disturbed;
  EXPECT_TRUE(summarise_noise(blocks, {}).invalid);
}

TEST(Noise, WithoutBlocksNothingIsClaimed) {
  const auto summary = summarise_noise({}, {});
  EXPECT_FALSE(summary.invalid);
  EXPECT_EQ(summary.kept, 0);
}

TEST(Trouble, KeepsTheKindThatDecidesTheExitCode) {
  using base::ErrorKind;
  const auto kind = [](ErrorKind from) {
    return trouble_from({.kind = from, .message = "m"}).kind;
  };
  EXPECT_EQ(kind(ErrorKind::workload), TroubleKind::workload);
  EXPECT_EQ(kind(ErrorKind::interrupted), TroubleKind::interrupted);
  for (const auto other :
       {ErrorKind::usage, ErrorKind::input, ErrorKind::missing, ErrorKind::not_permitted,
        ErrorKind::system, ErrorKind::timed_out, ErrorKind::peer_lost}) {
    EXPECT_EQ(kind(other), TroubleKind::setup);
  }
}

}  // namespace
}  // namespace reports
