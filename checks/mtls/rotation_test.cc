// How rotations are judged: on made-up stamps, each fault with its clean twin.
#include "checks/mtls/rotation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using bench::FailureClass;
using cluster::RotationStep;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t second = 1000 * ms;
constexpr base::Duration gap = milliseconds(500);
constexpr base::Duration budget = milliseconds(800);
constexpr const char* web = "spiffe://cluster.local/ns/default/sa/web";

// Four seconds of traffic from second 100 on, an answer each 10 ms; leaves at second 101 and 103,
// roots between. The wall's second 1,000,000 is the clock's 0.
struct World {
  RotationObservation seen{.begins_ns = 100 * second,
                           .ends_ns = 104 * second,
                           .watched = {"client-0", "web-0"},
                           .wall_ahead_ns = 1'000'000 * second};

  World() {
    seen.steps = {taken(RotationStep::leaf, 101), taken(RotationStep::trust_both_roots, 102),
                  taken(RotationStep::leaf, 103)};
    seen.traffic = {traffic("new_connections"), traffic("kept_connections")};
    seen.traffic[1].kept = 4;
    for (const auto* pod : {"client-0", "web-0"}) {
      shown(pod, "0", 100 * second, 101 * second + 5 * ms, 106);
      shown(pod, "101", 101 * second + 10 * ms, 103 * second + 15 * ms, 106);
      shown(pod, "103", 103 * second + 20 * ms, 104 * second - ms, 108);
    }
  }

  static RotationTaken taken(RotationStep step, std::int64_t at) {
    RotationTaken taken{.step = step,
                        .rotated = {.sent_ns = at * second, .acked_ns = at * second + 3 * ms}};
    if (!cluster::issues_leaves(step)) return taken;
    for (const auto* pod : {"client-0", "web-0"}) {
      taken.rotated.given.push_back({.pod = pod,
                                     .identity = web,
                                     .serial = std::to_string(at),
                                     .not_after_s = 1'000'000 + at + 5,
                                     .at_ns = at * second + 2 * ms});
    }
    return taken;
  }
  static RotationTraffic traffic(std::string name) {
    RotationTraffic traffic{.name = std::move(name), .slice = milliseconds(50)};
    traffic.client.start_ns = 100 * second;
    traffic.client.end_ns = 104 * second;
    for (std::int64_t at = 100 * second; at < 104 * second; at += 50 * ms) {
      traffic.client.answer_slices.push_back({.answered = 5,
                                              .last_ns = at + 45 * ms,
                                              .longest_gap_ns = 10 * ms,
                                              .gap_ended_ns = at + 25 * ms});
    }
    return traffic;
  }
  void shown(const std::string& pod, const std::string& serial, std::int64_t from,
             std::int64_t until, std::int64_t not_after) {
    seen.seen.doors.push_back({.name = pod,
                               .outcome = bench::DoorOutcome::alert,
                               .handshake_done = true,
                               .peer = bench::PeerIdentity{.uris = {web},
                                                           .serial = serial,
                                                           .not_after_s = 1'000'000 + not_after},
                               .took_ns = 2 * ms,
                               .at_ns = from,
                               .last_ns = until,
                               .tries = 10});
  }
  void fails(std::size_t traffic, std::int64_t begun_ns, std::int64_t ended_ns,
             FailureClass what = FailureClass::reset) {
    seen.traffic[traffic].client.failures.push_back(
        {.due_ns = begun_ns, .begun_ns = begun_ns, .ended_ns = ended_ns, .what = what});
  }
  // No answers in this time, the first one after it apart.
  void silent(std::size_t traffic, std::int64_t from, std::int64_t until) {
    auto& slices = seen.traffic[traffic].client.answer_slices;
    for (std::size_t i = 0; i < slices.size(); ++i) {
      const auto at = 100 * second + static_cast<std::int64_t>(i) * 50 * ms;
      if (at >= from && at < until) slices[i] = {};
      if (at == until) slices[i].longest_gap_ns = until + 25 * ms - from;
    }
  }
  Finding seamless(const std::string& traffic) const {
    return rotation_is_seamless(outcome_of(seen), traffic, gap);
  }
  Finding renewed() const { return certificates_renewed(outcome_of(seen), budget); }
  Finding valid() const { return certificates_valid_throughout(outcome_of(seen)); }
};

TEST(Rotation, WithoutAnErrorAndWithoutAGapIsSeamless) {
  const World world;
  for (const auto* traffic : {"new_connections", "kept_connections"}) {
    const auto finding = world.seamless(traffic);
    EXPECT_EQ(finding.verdict, base::Verdict::pass) << finding.sentence;
    EXPECT_EQ(finding.observed, "seamless");
    EXPECT_EQ(finding.evidence["answered"], 300);
    EXPECT_EQ(finding.evidence["longest_gap_ns"], 10 * ms);
  }
  EXPECT_THAT(world.seamless("kept_connections").sentence,
              HasSubstr("4 connections from before the first step went on"));
  const auto outcome = outcome_of(world.seen);
  ASSERT_EQ(outcome.steps.size(), 3U);
  EXPECT_EQ(outcome.steps[0].begins_ns, 101 * second);
  EXPECT_EQ(outcome.steps[0].ends_ns, 102 * second);
  EXPECT_EQ(outcome.steps[2].ends_ns, 104 * second);
  EXPECT_EQ(outcome.steps[0].traffic[0].answered, 100U);
  EXPECT_EQ(outcome.steps[0].traffic[0].went_on, std::nullopt);
  EXPECT_EQ(outcome.steps[0].traffic[1].went_on, 4U);
  EXPECT_EQ(outcome.before[0].answered, 100U);
  EXPECT_EQ(name_of(outcome.steps[2]), "leaf (step 3)");
}

TEST(Rotation, ThatDropsConnectionsIsFoundWithTheStepAndTheClasses) {
  World world;
  world.fails(1, 103 * second - 2 * ms, 103 * second + ms);  // under way when it was written
  world.fails(1, 103 * second + 5 * ms, 103 * second + 6 * ms);
  world.fails(1, 103 * second + 7 * ms, 103 * second + 8 * ms, FailureClass::refused);
  EXPECT_EQ(world.seamless("new_connections").verdict, base::Verdict::pass);
  const auto finding = world.seamless("kept_connections");
  EXPECT_EQ(finding.verdict, base::Verdict::fail);
  EXPECT_EQ(finding.observed, "errors");
  EXPECT_EQ(finding.sentence, "after leaf (step 3): 3 failed (refused 1, reset 2)");
  const auto outcome = outcome_of(world.seen);
  EXPECT_THAT(outcome.steps[2].traffic[1].failed,
              ElementsAre(Pair("refused", 1U), Pair("reset", 2U)));
  EXPECT_TRUE(outcome.steps[1].traffic[1].failed.empty());
  EXPECT_EQ(outcome.steps[1].traffic[1].went_on, 4U);
  EXPECT_EQ(outcome.steps[2].traffic[1].went_on, 1U) << "at least";
  EXPECT_EQ(outcome.from_before, 1U);
}

TEST(Rotation, ConnectionsThatWereClosedBetweenRequestsDidNotGoOn) {
  World world;
  // Four were kept, and six answered first ones.
  world.seen.traffic[1].client.flows_of = {{"1", 6}};
  const auto outcome = outcome_of(world.seen);
  EXPECT_EQ(outcome.from_before, 2U);
  EXPECT_EQ(outcome.steps[2].traffic[1].went_on, std::nullopt) << "nobody knows when";
  EXPECT_THAT(world.seamless("kept_connections").sentence, HasSubstr("2 connections from before"));
  world.seen.traffic[1].client.flows_of = {{"1", 4}};
  EXPECT_EQ(outcome_of(world.seen).from_before, 4U);
}

TEST(Rotation, ARequestThatTimesOutIsChargedToTheStepItWasUnderWayAt) {
  World world;
  // Begun before the second step, given up after the third.
  world.fails(0, 102 * second - 10 * ms, 103 * second + 10 * ms, FailureClass::timed_out);
  const auto outcome = outcome_of(world.seen);
  EXPECT_TRUE(outcome.steps[0].traffic[0].failed.empty());
  EXPECT_THAT(outcome.steps[1].traffic[0].failed, ElementsAre(Pair("timed_out", 1U)));
  EXPECT_TRUE(outcome.steps[2].traffic[0].failed.empty());
}

TEST(Rotation, ThatHoldsTrafficUpIsFoundWithoutAnError) {
  World world;
  world.silent(0, 101 * second + 50 * ms, 101 * second + 650 * ms);
  const auto finding = world.seamless("new_connections");
  EXPECT_EQ(finding.verdict, base::Verdict::fail);
  EXPECT_EQ(finding.observed, "gap");
  EXPECT_THAT(finding.sentence, HasSubstr("after leaf (step 1): 625 ms without an answer"));
  World shorter;
  shorter.silent(0, 101 * second + 50 * ms, 101 * second + 350 * ms);
  EXPECT_EQ(shorter.seamless("new_connections").verdict, base::Verdict::pass);
}

TEST(Rotation, SilenceThatDoesNotEndIsAGapOfEachStepItLasts) {
  World world;
  world.silent(0, 102 * second + 100 * ms, 105 * second);
  const auto outcome = outcome_of(world.seen);
  EXPECT_EQ(outcome.steps[0].traffic[0].longest_gap_ns, 10 * ms);
  EXPECT_EQ(outcome.steps[1].traffic[0].longest_gap_ns, second - 95 * ms);
  EXPECT_EQ(outcome.steps[2].traffic[0].longest_gap_ns, 2 * second - 95 * ms);
  EXPECT_EQ(world.seamless("new_connections").observed, "gap");
}

TEST(Rotation, WhatWasUnsoundBeforehandTellsNothing) {
  World world;
  world.fails(0, 100 * second + 10 * ms, 100 * second + 20 * ms);
  world.fails(0, 101 * second + 10 * ms, 101 * second + 20 * ms);
  EXPECT_EQ(world.seamless("new_connections").verdict, base::Verdict::inconclusive);
  World still;
  still.silent(0, 100 * second + 100 * ms, 100 * second + 800 * ms);
  EXPECT_THAT(still.seamless("new_connections").sentence, HasSubstr("before anything was rotated"));
  World nobody;
  nobody.silent(0, 100 * second, 105 * second);
  EXPECT_EQ(nobody.seamless("new_connections").verdict, base::Verdict::inconclusive);
}

TEST(Renewals, AreTimedByWholeHandshakesAndTheirBrackets) {
  const World world;
  const auto finding = world.renewed();
  EXPECT_EQ(finding.verdict, base::Verdict::pass) << finding.sentence;
  EXPECT_EQ(finding.observed, "renewed");
  const auto outcome = outcome_of(world.seen);
  ASSERT_EQ(outcome.steps[0].renewals.size(), 2U);
  const auto& renewal = outcome.steps[0].renewals[1];
  EXPECT_EQ(renewal.pod, "web-0");
  EXPECT_EQ(renewal.shown_ns, 10 * ms) << "begun 8 ms after the write, and it took two";
  EXPECT_EQ(renewal.error_ns, 7 * ms) << "5 ms after the step the old one was shown";
  EXPECT_TRUE(outcome.steps[1].renewals.empty());
  EXPECT_EQ(finding.evidence["shown"], 4);
  EXPECT_EQ(finding.evidence["handshakes"]["web-0"], 30);
}

TEST(Renewals, OfAProxyThatIsLeftOutAreMissed) {
  World world;
  for (auto& step : world.seen.steps) {
    if (!step.rotated.given.empty()) step.rotated.given.pop_back();
  }
  const auto finding = world.renewed();
  EXPECT_EQ(finding.verdict, base::Verdict::fail);
  EXPECT_EQ(finding.observed, "not_renewed");
  EXPECT_EQ(finding.sentence, "web-0 was given no new certificate by 2 of 3 steps");
}

TEST(Renewals, ThatAProxyDoesNotTakeOrTakesLateAreFound) {
  World world;
  std::erase_if(world.seen.seen.doors, [](const auto& tried) {
    return tried.name == "web-0" && tried.peer->serial == "101";
  });
  EXPECT_THAT(world.renewed().sentence,
              HasSubstr("web-0 (spiffe://cluster.local/ns/default/sa/web) never showed the "
                        "certificate of leaf (step 1)"));
  World late;
  late.seen.seen.doors.back().at_ns = 103 * second + 900 * ms;
  const auto finding = late.renewed();
  EXPECT_EQ(finding.verdict, base::Verdict::fail);
  EXPECT_EQ(finding.observed, "late");
  EXPECT_THAT(finding.sentence, HasSubstr("web-0 showed that of leaf (step 3) 900 ms after"));
}

TEST(Renewals, OfAProxyNobodyCouldShakeHandsWithCannotBeTold) {
  World world;
  for (auto& tried : world.seen.seen.doors) {
    if (tried.name == "web-0") tried.peer.reset();
  }
  EXPECT_EQ(world.renewed().verdict, base::Verdict::inconclusive);
}

TEST(Expiry, IsNamedWithWhatBrokeSince) {
  World world;
  // web-0 keeps its first certificate, which is over at second 102.
  std::erase_if(world.seen.seen.doors, [](const auto& tried) { return tried.name == "web-0"; });
  world.shown("web-0", "0", 100 * second, 104 * second - ms, 102);
  for (int i = 0; i < 3; ++i) world.fails(0, 103 * second, 103 * second + i * ms);
  world.fails(0, 101 * second + 700 * ms, 101 * second + 800 * ms, FailureClass::timed_out);
  const auto finding = world.valid();
  EXPECT_EQ(finding.verdict, base::Verdict::fail);
  EXPECT_EQ(finding.observed, "expired");
  EXPECT_THAT(finding.sentence,
              HasSubstr("spiffe://cluster.local/ns/default/sa/web (serial 0) of web-0 expired 2.00 "
                        "s after traffic began"));
  EXPECT_THAT(finding.sentence, HasSubstr("of new_connections 3 failed (reset 3), 200 answered; of "
                                          "kept_connections none failed, 200 answered"));
  EXPECT_EQ(finding.evidence["expired"][0]["expired_ns"], 102 * second);
}

TEST(Expiry, IsNoneWhereCertificatesAreRenewedInTime) {
  World world;
  const auto finding = world.valid();
  EXPECT_EQ(finding.verdict, base::Verdict::pass) << finding.sentence;
  EXPECT_THAT(finding.sentence, HasSubstr("none of 2 proxies showed a certificate that was over, "
                                          "in 60 whole handshakes"));
  // Nobody renews any after the end.
  world.shown("web-0", "103", 104 * second, 109 * second, 108);
  EXPECT_EQ(world.valid().verdict, base::Verdict::pass) << world.valid().sentence;
  world.seen.seen.doors.clear();
  EXPECT_EQ(world.valid().verdict, base::Verdict::inconclusive);
}

TEST(Handshakes, OfAStepAreTheDifferenceUnlessTheProxyWasStartedAnew) {
  World world;
  world.seen.steps[0].before = {100, 10, 0};
  world.seen.steps[1].before = {150, 40, 1};
  world.seen.steps[2].before = {20, 0, 0};
  world.seen.at_end = {60, 5, 2};
  const auto outcome = outcome_of(world.seen);
  ASSERT_TRUE(outcome.steps[0].handshakes);
  EXPECT_EQ(outcome.steps[0].handshakes->handshakes, 50U);
  EXPECT_EQ(outcome.steps[0].handshakes->resumed, 30U);
  EXPECT_FALSE(outcome.steps[1].handshakes);
  EXPECT_EQ(outcome.steps[2].handshakes->failed, 2U);
}

}  // namespace
}  // namespace checks
