// Windows made up of knocks: where their ends lie, what is too little to judge by, and the verdict.
#include "checks/mtls/plaintext_window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using bench::Knock;
using bench::ReachOutcome;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::int64_t us = 1'000;
constexpr std::int64_t ms = 1'000'000;

// One a half millisecond from 0 to 1 s, each of which takes 200 us; `outcome` says what of.
template <typename Outcome>
std::vector<Knock> knocks(const Outcome& outcome) {
  std::vector<Knock> all;
  for (std::uint32_t i = 0; i < 2'000; ++i) {
    const auto at = std::int64_t{i} * 500 * us;
    all.push_back(
        {.number = i, .before_ns = at, .after_ns = at + 200 * us, .outcome = outcome(at)});
  }
  return all;
}

std::vector<Knock> all_of(ReachOutcome outcome) {
  return knocks([&](std::int64_t) { return outcome; });
}

// A second of it, changed at 100 ms.
MeshWatch clean() {
  return {.from_ns = 0,
          .sent_ns = 100 * ms,
          .acked_ns = 101 * ms,
          .until_ns = 1'000 * ms,
          .outsider = all_of(ReachOutcome::cut),
          .client = all_of(ReachOutcome::answered)};
}

// Answered between two instants, and refused otherwise.
std::vector<Knock> answered_between(std::int64_t from, std::int64_t to) {
  return knocks([&](std::int64_t at) {
    return at >= from && at < to ? ReachOutcome::answered : ReachOutcome::refused;
  });
}

MeshWatch flip(std::int64_t shut_ns) {
  auto watch = clean();
  watch.closes = true;
  watch.outsider = answered_between(0, shut_ns);
  return watch;
}

Finding judged(const MeshWatch& watch, base::Duration budget = {}) {
  return no_plaintext_window({look_at(watch)}, 1, budget);
}

TEST(PlaintextWindow, ACleanChangeHasNone) {
  const auto seen = look_at(clean());
  EXPECT_FALSE(seen.answered.seen());
  EXPECT_FALSE(seen.readable.seen());
  EXPECT_EQ(seen.not_judged, "");
  EXPECT_EQ(seen.failed, 0U);
  EXPECT_EQ(seen.blind_ns, 500 * us);
  EXPECT_EQ(seen.outage_ns, 500 * us);
  const auto finding = judged(clean());
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "none");
  EXPECT_THAT(finding.sentence,
              HasSubstr("no plaintext was answered that must not be; nothing of the mesh's own was "
                        "readable; what lasts less than 500 us may have been missed"));
}

TEST(PlaintextWindow, LastsAsLongAsItWasPlantedToWithinItsError) {
  for (const auto planted : {20 * ms, 50 * ms, 200 * ms}) {
    for (const auto offset : {0 * us, 130 * us, 370 * us}) {
      auto watch = clean();
      const auto opened = 300 * ms + offset;
      watch.outsider = answered_between(opened, opened + planted);
      const auto window = look_at(watch).answered;
      EXPECT_LE(std::abs(window.length_ns() - planted), window.error_ns());
      EXPECT_LE(window.error_ns(), 1 * ms);
      EXPECT_LE(window.at_least_ns(), planted);
      EXPECT_GE(window.at_most_ns(), planted);
      EXPECT_NEAR(static_cast<double>(window.times), static_cast<double>(planted / (500 * us)), 1);
      ASSERT_TRUE(window.closed);
      EXPECT_GE(window.opened.to_ns, opened);
      EXPECT_LE(window.opened.from_ns, opened);
      const auto finding = judged(watch);
      EXPECT_EQ(finding.verdict, Verdict::fail);
      EXPECT_THAT(finding.sentence, HasSubstr("though none may be"));
    }
  }
}

TEST(PlaintextWindow, OneAnswerIsEnough) {
  auto watch = clean();
  watch.outsider[900].outcome = ReachOutcome::answered;
  const auto finding = judged(watch);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.evidence.at("answered").at("times"), 1);
  EXPECT_EQ(look_at(watch).answered.at_least_ns(), 0) << "the edges overlap";
}

TEST(PlaintextWindow, WhatWasSoBeforeTheChangeCountsToo) {
  auto watch = clean();
  watch.outsider = all_of(ReachOutcome::answered);
  const auto window = look_at(watch).answered;
  EXPECT_EQ(window.first_ns, 0);
  EXPECT_FALSE(window.closed);
  EXPECT_EQ(window.at_most_ns(), std::nullopt);
  const auto finding = judged(watch, milliseconds(100));
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "answered: never closes, readable: none");
  EXPECT_THAT(finding.sentence, HasSubstr("to the end of the watch, nothing closed it"));
}

TEST(PlaintextWindow, OfAFlipIsFromItsAcknowledgement) {
  const auto seen = look_at(flip(131 * ms));
  EXPECT_EQ(seen.not_judged, "");
  EXPECT_EQ(seen.answered.opened, (Bracket{100 * ms, 101 * ms}));
  EXPECT_EQ(seen.answered.closed, (Bracket{130'500 * us, 131'200 * us}));
  EXPECT_EQ(seen.answered.at_least_ns(), 29'500 * us);
  EXPECT_EQ(seen.answered.at_most_ns(), 31'200 * us);
  EXPECT_EQ(judged(flip(131 * ms), milliseconds(50)).verdict, Verdict::pass);
  EXPECT_EQ(judged(flip(131 * ms), milliseconds(30)).verdict, Verdict::inconclusive);
  EXPECT_EQ(judged(flip(131 * ms), milliseconds(29)).verdict, Verdict::fail);
  // In force before it was sent for: nothing was seen to be answered since.
  EXPECT_EQ(judged(flip(100 * ms), milliseconds(50)).verdict, Verdict::pass);
}

TEST(PlaintextWindow, AFlipThatNeverTakesForceFailsOnceItsBudgetIsOver) {
  const auto watch = flip(2'000 * ms);
  EXPECT_EQ(judged(watch, milliseconds(250)).verdict, Verdict::fail);
  // Watched for too short to tell.
  EXPECT_EQ(judged(watch, milliseconds(899)).verdict, Verdict::inconclusive);
}

TEST(PlaintextWindow, AFlipOfWhatWasShutSaysNothing) {
  const auto finding = judged(flip(50 * ms), milliseconds(250));
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("plaintext was not answered when STRICT was written"));
}

TEST(PlaintextWindow, ReadableRequestsAreAnotherMatterThanAnswers) {
  auto watch = clean();
  watch.readable = 100;
  watch.readable_span = probes::CanarySpan{300 * ms + 100 * us, 350 * ms + 100 * us};
  const auto seen = look_at(watch);
  EXPECT_FALSE(seen.answered.seen());
  const auto& window = seen.readable;
  EXPECT_EQ(window.opened, (Bracket{299'500 * us, 300'100 * us}));
  EXPECT_EQ(window.closed, (Bracket{350'100 * us, 350'700 * us}));
  EXPECT_LE(window.error_ns(), 1 * ms);
  EXPECT_LE(std::abs(window.length_ns() - 50 * ms), window.error_ns());
  const auto finding = judged(watch);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_THAT(finding.sentence,
              HasSubstr("requests of the client's were readable on the wire for 50.6 ms"));
  EXPECT_EQ(judged(watch, milliseconds(60)).verdict, Verdict::pass);
}

TEST(PlaintextWindow, OfAClientThatBeganAnewOpensWithItAtTheEarliest) {
  auto watch = clean();
  std::erase_if(watch.client, [](const Knock& request) {
    return request.before_ns > 100 * ms && request.before_ns < 300 * ms;
  });
  watch.readable = 100;
  watch.readable_span = probes::CanarySpan{300 * ms + 100 * us, 350 * ms + 100 * us};
  EXPECT_GT(look_at(watch).readable.error_ns(), 90 * ms);
  watch.client_since_ns = 299'800 * us;
  EXPECT_EQ(look_at(watch).readable.opened, (Bracket{299'800 * us, 300'100 * us}));
}

TEST(PlaintextWindow, AHoleNeverCloses) {
  auto watch = clean();
  // What leaves by it is refused by STRICT, and readable all the same.
  watch.client = all_of(ReachOutcome::cut);
  watch.readable = 2'000;
  watch.readable_span = probes::CanarySpan{100 * us, 999'600 * us};
  const auto finding = judged(watch, milliseconds(100));
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "answered: none, readable: never closes");
  EXPECT_EQ(finding.evidence.at("readable").at("longest").at("closed"), false);
}

TEST(PlaintextWindow, ARefusalIsWhatSomebodySaidNotSilence) {
  auto watch = clean();
  watch.outsider = knocks([](std::int64_t at) {
    if (at >= 300 * ms && at < 320 * ms) return ReachOutcome::answered;
    if (at >= 320 * ms && at < 340 * ms) return ReachOutcome::timed_out;
    return at >= 340 * ms && at < 345 * ms ? ReachOutcome::answered_by_other : ReachOutcome::cut;
  });
  const auto window = look_at(watch).answered;
  // It may have been open until then.
  EXPECT_EQ(window.closed, (Bracket{319'500 * us, 345'200 * us}));
  EXPECT_EQ(judged(watch, milliseconds(30)).verdict, Verdict::inconclusive);
}

TEST(PlaintextWindow, WhatNobodyTriedProvesNothing) {
  auto watch = clean();
  std::erase_if(watch.outsider, [](const Knock& knock) {
    return knock.before_ns > 400 * ms && knock.before_ns < 500 * ms;
  });
  auto finding = judged(watch);
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("nobody tried the door for 100 ms"));
  // A pod that is made anew is not there for a while: that is no blindness.
  watch = clean();
  for (auto& knock : watch.outsider) {
    if (knock.before_ns > 110 * ms && knock.before_ns < 400 * ms) {
      knock.outcome = ReachOutcome::unreachable;
    }
  }
  EXPECT_EQ(judged(watch).verdict, Verdict::inconclusive);
  watch.door_since_ns = 390 * ms;
  EXPECT_EQ(judged(watch).verdict, Verdict::pass);
  watch.outsider = all_of(ReachOutcome::timed_out);
  finding = judged(watch);
  EXPECT_THAT(finding.sentence, HasSubstr("nobody who knocked met the pod's door"));
}

TEST(PlaintextWindow, ACaptureThatProvesNothingOrAClientThatSaysNothingIsNotTrusted) {
  auto watch = clean();
  watch.capture_trouble = "the capture lost 3 packets";
  EXPECT_THAT(judged(watch).sentence, HasSubstr("cannot tell: the capture lost 3 packets"));
  watch.readable = 1;  // what it did see is there
  watch.readable_span = probes::CanarySpan{300 * ms, 300 * ms};
  EXPECT_EQ(judged(watch).verdict, Verdict::fail);

  watch = clean();
  watch.client = all_of(ReachOutcome::refused);
  EXPECT_THAT(judged(watch).sentence, HasSubstr("none of the client's requests was answered"));
}

TEST(PlaintextWindow, CountsWhatTheMeshsOwnClientMissed) {
  auto watch = clean();
  for (auto& request : watch.client) {
    if (request.before_ns >= 200 * ms && request.before_ns < 240 * ms) {
      request.outcome = ReachOutcome::refused;
    }
  }
  const auto seen = look_at(watch);
  EXPECT_EQ(seen.asked, 1'800U);
  EXPECT_EQ(seen.failed, 80U);
  EXPECT_EQ(seen.outage_ns, 40'500 * us);
}

TEST(PlaintextWindow, RepetitionsThatSayNothingAreReplacedByOthersOrMissed) {
  auto silent = clean();
  silent.capture_trouble = "the capture lost 3 packets";
  const std::vector<ChangeSeen> seen{look_at(clean()), look_at(silent), look_at(clean())};
  EXPECT_EQ(no_plaintext_window(seen, 2, {}).verdict, Verdict::pass);
  const auto finding = no_plaintext_window(seen, 3, {});
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("1 of 3 repetitions say nothing"));
  // One that is bad is bad, whatever others say.
  auto bad = clean();
  bad.outsider = answered_between(300 * ms, 350 * ms);
  EXPECT_EQ(no_plaintext_window({look_at(clean()), look_at(bad), look_at(silent)}, 3, {}).verdict,
            Verdict::fail);
}

}  // namespace
}  // namespace checks
