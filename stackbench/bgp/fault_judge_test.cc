// Every fault's prediction, and what is found wrong with times made by hand; their clean twins are
// silent.
#include "stackbench/bgp/fault_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench::bgp {
namespace {

using base::Verdict;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;

constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t s = 1000 * ms;

// A speaker's death as it should be.
FaultTimes clean() {
  return {.wire_end_ns = 2 * ms,
          .last_message_ns = -400 * ms,
          .down_ns = 3 * ms,
          .up_ns = 7 * s,
          .gone_ns = 5 * ms,
          .back_ns = 7100 * ms,
          .healed_ns = 100 * ms,
          .ended_ns = 8 * s,
          .probes = 10'000};
}

FaultRun run_of(FaultKind kind, FaultTimes times, FaultBudget budget = {}) {
  FaultRun run{.spec = {.kind = kind, .node = 2, .budget = budget},
               .timers = {.hold_time_s = 3},
               .times = {times, times}};
  if (is_graceful(kind)) run.timers.restart_time_s = 5;
  return run;
}

std::vector<std::string> failed(const FaultRun& run) {
  std::vector<std::string> names;
  for (const auto& [name, finding] : judge_fault(run)) {
    if (finding.verdict != Verdict::pass) names.push_back(name);
  }
  return names;
}

std::string sentence(const FaultRun& run, const std::string& check) {
  return judge_fault(run).at(check).sentence;
}

FaultTimes restarted() {
  auto times = clean();
  times.gone_ns.reset();
  times.back_ns.reset();
  times.open = bgp_peer::Open{.graceful_restart = bgp_peer::GracefulRestart{
                                  .restarting = true,
                                  .restart_time_s = 20,
                                  .families = {bgp_peer::Family::ipv4_unicast},
                                  .forwarding = {bgp_peer::Family::ipv4_unicast}}};
  times.end_of_rib = true;
  return times;
}

TEST(FaultPrediction, IsWhatTheTimersSay) {
  const FaultTimers timers{.hold_time_s = 3, .restart_time_s = 5};
  const auto stale = [&](FaultKind kind) { return predict_stale(kind, timers, clean()); };
  for (const auto kind :
       {FaultKind::link_down, FaultKind::peer_restarted, FaultKind::node_drained}) {
    ASSERT_TRUE(stale(kind));
    EXPECT_EQ(stale(kind)->at_ns, 0) << base::enum_name(kind);
    EXPECT_FALSE(predict(kind, timers).because.empty());
  }
  for (const auto kind : {FaultKind::speaker_killed, FaultKind::speaker_shutdown,
                          FaultKind::tcp_reset, FaultKind::session_flap}) {
    ASSERT_TRUE(stale(kind));
    EXPECT_EQ(stale(kind)->at_ns, 2 * ms) << base::enum_name(kind);
    EXPECT_FALSE(predict(kind, timers).because.empty());
  }
  EXPECT_EQ(stale(FaultKind::speaker_silent)->at_ns, 2600 * ms) << "since its last message";
  EXPECT_EQ(stale(FaultKind::node_silent)->at_ns, 2600 * ms);
  EXPECT_EQ(stale(FaultKind::speaker_lost)->at_ns, 5002 * ms) << "since its connection closed";
  EXPECT_EQ(stale(FaultKind::speaker_lost)->slack_ns, 50 * ms);
  EXPECT_EQ(predict_stale(FaultKind::speaker_lost, {.restart_time_s = 120}, clean())->slack_ns,
            1200 * ms)
      << "1 %";
  EXPECT_EQ(stale(FaultKind::speaker_restarted), std::nullopt) << "it stays";
  EXPECT_EQ(stale(FaultKind::wrong_asn), std::nullopt);
  auto unseen = clean();
  unseen.wire_end_ns.reset();
  EXPECT_EQ(predict_stale(FaultKind::speaker_lost, timers, unseen), std::nullopt);
}

TEST(FaultJudging, IsSilentWhereAllIsAsPredicted) {
  const FaultBudget budget{.downtime = std::chrono::seconds(10),
                           .stale = std::chrono::milliseconds(50),
                           .loss = std::chrono::milliseconds(1)};
  EXPECT_THAT(failed(run_of(FaultKind::speaker_killed, clean(), budget)), IsEmpty());
  auto silent = clean();
  silent.gone_ns = silent.wire_end_ns = silent.down_ns = 2650 * ms;
  EXPECT_THAT(failed(run_of(FaultKind::speaker_silent, silent)), IsEmpty());
  auto lost = clean();
  lost.gone_ns = 5030 * ms;
  lost.healed_ns = 5100 * ms;
  lost.up_ns = 12 * s;
  EXPECT_THAT(failed(run_of(FaultKind::speaker_lost, lost)), IsEmpty());
  EXPECT_THAT(failed(run_of(FaultKind::speaker_restarted, restarted())), IsEmpty());
  auto rollout = FaultTimes{.ended_ns = s, .probes = 1250};
  EXPECT_THAT(failed(run_of(FaultKind::rollout, rollout)), IsEmpty());
  EXPECT_THAT(judge_fault(run_of(FaultKind::rollout, rollout)),
              Not(Contains(Key("bgp_stale_route_in_time"))));
}

TEST(FaultJudging, FindsARouteThatNeverLeaves) {
  auto kept = clean();
  kept.gone_ns.reset();
  const auto run = run_of(FaultKind::speaker_killed, kept);
  EXPECT_THAT(failed(run), ::testing::ElementsAre("bgp_stale_route_in_time"));
  EXPECT_THAT(sentence(run, "bgp_stale_route_in_time"),
              HasSubstr("the route never left in 8.00 s"));
}

TEST(FaultJudging, FindsARouteHeldLongerThanTheRestartTime) {
  auto held = clean();
  held.gone_ns = 5060 * ms;
  held.healed_ns = 5100 * ms;
  held.up_ns = 12 * s;
  EXPECT_THAT(sentence(run_of(FaultKind::speaker_lost, held), "bgp_stale_route_in_time"),
              HasSubstr("gone after 5.06 s, 58.0 ms later than predicted"));
  held.gone_ns = 4 * s;
  EXPECT_THAT(sentence(run_of(FaultKind::speaker_lost, held), "bgp_stale_route_in_time"),
              HasSubstr("sooner than predicted"));
}

TEST(FaultJudging, FindsASpeakerThatNeverComesBack) {
  auto away = clean();
  away.up_ns.reset();
  const auto run = run_of(FaultKind::speaker_killed, away);
  EXPECT_THAT(failed(run), ::testing::ElementsAre("bgp_session_recovers"));
  EXPECT_THAT(sentence(run, "bgp_session_recovers"), HasSubstr("not established again in 8.00 s"));
}

TEST(FaultJudging, FindsThatTheSessionNeverCameDown) {
  auto up = clean();
  up.down_ns.reset();
  up.up_ns.reset();
  EXPECT_THAT(sentence(run_of(FaultKind::tcp_reset, up), "bgp_session_recovers"),
              HasSubstr("the session never came down: the fault was none"));
  EXPECT_THAT(failed(run_of(FaultKind::rollout, clean())), Contains("bgp_session_holds"));
}

TEST(FaultJudging, FindsWhatIsBeyondABudget) {
  const auto beyond = [](FaultBudget budget) {
    auto times = clean();
    times.lost = 12;
    times.loss_ns = 10 * ms;
    return failed(run_of(FaultKind::speaker_killed, times, budget));
  };
  EXPECT_THAT(beyond({.downtime = std::chrono::seconds(6)}),
              ::testing::ElementsAre("bgp_session_recovers"));
  EXPECT_THAT(beyond({.stale = std::chrono::milliseconds(1)}),
              ::testing::ElementsAre("bgp_stale_route_in_time"));
  EXPECT_THAT(beyond({.loss = std::chrono::milliseconds(9)}),
              ::testing::ElementsAre("bgp_fault_loss_within_budget"));
  EXPECT_THAT(beyond({}), IsEmpty());
}

TEST(FaultJudging, FindsLossesThatNothingPredicts) {
  auto lossy = clean();
  lossy.lost = 500;
  lossy.loss_ns = 400 * ms;
  const auto run = run_of(FaultKind::speaker_killed, lossy);
  EXPECT_THAT(failed(run), ::testing::ElementsAre("bgp_fault_loss_within_budget"));
  EXPECT_THAT(sentence(run, "bgp_fault_loss_within_budget"),
              HasSubstr("no more than 0 ms is predicted"));
  lossy.gone_ns = lossy.wire_end_ns = lossy.down_ns = 2600 * ms;
  EXPECT_THAT(failed(run_of(FaultKind::node_silent, lossy)), IsEmpty()) << "while it is stale";
}

TEST(FaultJudging, FindsThatAnotherNodesRouteWent) {
  auto others = clean();
  others.others_gone_ns = 4 * ms;
  EXPECT_THAT(failed(run_of(FaultKind::speaker_killed, others)),
              ::testing::ElementsAre("bgp_other_routes_unaffected"));
}

TEST(FaultJudging, FindsARestartThatForgetsItsRoutes) {
  const auto words = [](FaultTimes times) {
    return sentence(run_of(FaultKind::speaker_restarted, std::move(times)),
                    "bgp_restart_keeps_route");
  };
  auto without_f = restarted();
  without_f.open->graceful_restart->forwarding.clear();
  EXPECT_THAT(words(without_f), HasSubstr("no F bit, after which its stale routes must go"));
  auto without_r = restarted();
  without_r.open->graceful_restart->restarting = false;
  EXPECT_THAT(words(without_r), HasSubstr("no R bit"));
  auto left = restarted();
  left.gone_ns = 6 * s;
  EXPECT_THAT(words(left), HasSubstr("the route left after 6.00 s"));
  auto endless = restarted();
  endless.end_of_rib = false;
  EXPECT_THAT(words(endless), HasSubstr("no End-of-RIB marker followed"));
}

TEST(FaultJudging, WantsARefusalForTheRightReason) {
  auto refused = clean();
  refused.up_ns.reset();
  refused.refusal = bgp_peer::Notification{.code = 2, .subcode = 2};
  EXPECT_THAT(failed(run_of(FaultKind::wrong_asn, refused)), IsEmpty());
  EXPECT_THAT(sentence(run_of(FaultKind::wrong_asn, refused), "bgp_session_refused"),
              HasSubstr("OPEN Message Error, Bad Peer AS (2/2)"));
  EXPECT_THAT(sentence(run_of(FaultKind::max_prefix_exceeded, refused), "bgp_session_refused"),
              HasSubstr("expected Cease, Maximum Number of Prefixes Reached (6/1)"));
  refused.refusal.reset();
  EXPECT_THAT(failed(run_of(FaultKind::wrong_asn, refused)),
              ::testing::ElementsAre("bgp_session_refused"));
  auto taken = clean();
  taken.refusal = bgp_peer::Notification{.code = 2, .subcode = 2};
  taken.up_ns = 50 * ms;
  EXPECT_THAT(sentence(run_of(FaultKind::wrong_asn, taken), "bgp_session_refused"),
              HasSubstr("it was established after 50.0 ms"));
}

TEST(FaultJudging, WantsAWrongSignatureDroppedInSilence) {
  auto dropped = clean();
  dropped.up_ns.reset();
  dropped.syns = 2;
  auto run = run_of(FaultKind::wrong_password, dropped);
  run.bad_signatures = {2, 1};
  EXPECT_THAT(failed(run), IsEmpty());
  EXPECT_THAT(sentence(run, "bgp_session_refused"),
              HasSubstr("2 segments dropped for a wrong TCP MD5 signature"));
  run.bad_signatures = {2, 0};
  EXPECT_THAT(sentence(run, "bgp_session_refused"),
              HasSubstr("repetition 2: the router's kernel dropped no segment"));
  run.bad_signatures = {2, 1};
  run.times[0].syn_acks = 1;
  EXPECT_THAT(sentence(run, "bgp_session_refused"),
              HasSubstr("answered a connection signed with another password"));
}

TEST(FaultJudging, CannotTellOfWhatWasNeverDone) {
  auto none = run_of(FaultKind::speaker_killed, clean());
  none.times.clear();
  for (const auto& [name, finding] : judge_fault(none)) {
    EXPECT_EQ(finding.verdict, Verdict::inconclusive) << name;
  }
}

TEST(FaultRecord, HasTheWorstVerdictAndTheWordsOfTheWire) {
  auto run = run_of(FaultKind::speaker_killed, clean(), {.downtime = std::chrono::seconds(1)});
  const auto record = record_of(run, judge_fault(run));
  EXPECT_EQ(record.verdict, Verdict::fail);
  EXPECT_EQ(record.kind, "speaker_killed");
  ASSERT_EQ(record.repetitions.size(), 2U);
  EXPECT_EQ(record.repetitions[0].ended_by, "FIN");
  EXPECT_EQ(record.repetitions[0].downtime_ns(), 6997 * ms);
  EXPECT_EQ(record.repetitions[0].stale_predicted_ns, 2 * ms);
  auto said = clean();
  said.notification = bgp_peer::Notification{.code = 6, .subcode = 2};
  EXPECT_EQ(ended_by(said), "NOTIFICATION Cease, Administrative Shutdown (6/2) of the node");
  said.wire_end_ns.reset();
  EXPECT_EQ(ended_by(said), "");
}

}  // namespace
}  // namespace stackbench::bgp
