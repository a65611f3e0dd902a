// What runs about policies saw, as the report has it.
#include <gtest/gtest.h>

#include "base/process.h"
#include "stackbench/policy/drop_watches.h"
#include "stackbench/policy/matrix_record.h"
#include "stackbench/policy/windows.h"

namespace stackbench {
namespace {

using checks::PolicyChange;
using checks::WindowEdge;

TEST(RepeatCommand, HasEveryWordButThoseThatSayWhereResultsGo) {
  const RepeatCommand repeat{.argv = {"stackbench", "run", "it.yaml", "--target", "kubernetes",
                                      "--context", "prod", "--out", "it.json", "-n", "team",
                                      "--serve-metrics=127.0.0.1:1", "--set", "seed=7"}};
  EXPECT_EQ(repeat.with({"policy.only={from: a-0, to: b-0}"}),
            "stackbench run it.yaml --target kubernetes --context prod -n team --set seed=7 "
            "--set 'policy.only={from: a-0, to: b-0}'");
}

TEST(RepeatCommand, IsTheSameWordsToAShell) {
  const RepeatCommand repeat{
      .argv = {"printf", "[%s]", "my scenarios/it's.yaml", "$(id)", "a\\b", "", "~", "*"}};
  const auto ran = base::run({"sh", "-c", repeat.with({"question='a b?'"})},
                             {.timeout = std::chrono::seconds(10)});
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->out, "[my scenarios/it's.yaml][$(id)][a\\b][][~][*][--set][question='a b?']");
}

PolicyGrid two_pods() {
  PolicyGrid grid;
  for (int i = 0; i < 2; ++i) {
    cluster::PodHandle pod;
    pod.name = "pod-" + std::to_string(i);
    pod.node = 1;
    pod.ipv4 = *base::IpAddress::parse("10.244.1." + std::to_string(2 + i));
    grid.pods.push_back(std::move(pod));
  }
  grid.ports = {{"http", {base::Protocol::TCP, 8080}}};
  grid.cells = {{0, 1, 0}};
  return grid;
}

TEST(OtherPolicies, MakeWhatTheyMaySelectUnknown) {
  cluster::OtherPolicies others;
  others.objects = {{{"apiVersion", "networking.k8s.io/v1"},
                     {"kind", "NetworkPolicy"},
                     {"metadata", {{"name", "theirs"}, {"namespace", "shop"}}},
                     {"spec", {{"podSelector", {{"matchLabels", {{"app", "db"}}}}}}}},
                    {{"apiVersion", "cilium.io/v2"},
                     {"kind", "CiliumClusterwideNetworkPolicy"},
                     {"metadata", {{"name", "l7"}}},
                     {"spec", {{"endpointSelector", {{"matchLabels", {{"app", "web"}}}}}}}}};
  checks::PolicyWorld world;
  for (const auto* app : {"db", "web", "other"}) {
    world.pods.push_back({.name = app, .in_namespace = "shop", .labels = {{"app", app}}});
  }
  world.unmodelled = unmodelled_of(others);
  ASSERT_EQ(world.unmodelled.size(), 2u);
  EXPECT_EQ(world.unmodelled[0].kind, "NetworkPolicy of others");
  EXPECT_EQ(checks::unmodelled_of(world, 0), std::vector<std::size_t>{0});
  EXPECT_EQ(checks::unmodelled_of(world, 1), std::vector<std::size_t>{1});
  EXPECT_TRUE(checks::unmodelled_of(world, 2).empty());
  // One that nobody let us look at may select any.
  others.unseen["AdminNetworkPolicy"] = "forbidden";
  world.unmodelled = unmodelled_of(others);
  EXPECT_EQ(checks::unmodelled_of(world, 2), std::vector<std::size_t>{2});
  EXPECT_EQ(world.unmodelled[2].kind, "AdminNetworkPolicy (which cannot be looked at: forbidden)");
}

TEST(JoinDrops, TakesWhatTheCellsOwnPacketsMet) {
  const auto grid = two_pods();
  std::vector<reports::PolicyCell> cells{{.from = "pod-0", .to = "pod-1", .port = "http"}};
  const base::Endpoint client{grid.pods[0].ipv4, 40'000};
  const base::Endpoint server{grid.pods[1].ipv4, 8080};
  const auto drop = [](const base::Endpoint& from, const base::Endpoint& to,
                       base::Protocol protocol) {
    probes::Drop one;
    one.reason = "NETFILTER_DROP";
    one.where = "nf_hook_slow";
    one.from = from;
    one.to = to;
    one.protocol = protocol;
    return one;
  };
  join_drops(cells, grid, base::AddressFamily::ipv4,
             {drop(client, server, base::Protocol::TCP), drop(server, client, base::Protocol::TCP),
              drop(client, server, base::Protocol::TCP), drop(client, server, base::Protocol::UDP),
              drop(server, {grid.pods[0].ipv4, 8080}, base::Protocol::UDP),
              drop(client, {grid.pods[1].ipv4, 8081}, base::Protocol::TCP)});
  EXPECT_EQ(cells[0].drops, (std::map<std::string, std::uint64_t>{
                                {"NETFILTER_DROP in nf_hook_slow", 2},
                                {"NETFILTER_DROP in nf_hook_slow, of the answer", 1}}));
  join_verdicts(cells, grid, base::AddressFamily::ipv4,
                {{.from = client, .to = server, .verdict = "ingress of pod-1: no_rule_allows"},
                 {.from = client,
                  .to = server,
                  .protocol = base::Protocol::UDP,
                  .verdict = "of another cell"}});
  EXPECT_EQ(cells[0].verdict_event, "denied by ingress of pod-1: no_rule_allows");
}

TEST(MergedDrops, OfOneKernelThatSeveralWatchedAreToldOnce) {
  probes::Drop first;
  first.time_ns = 5;
  first.reason = "NETFILTER_DROP";
  first.from.port = 40'000;
  auto second = first;
  second.time_ns = 9;
  auto third = first;
  third.from.port = 40'001;
  const auto all = merged({{.drops = {first, second}, .lost = 1},
                           {.drops = {third, second}, .lost = 2, .unparsed = 3},
                           {.drops = {first}}});
  EXPECT_EQ(all.drops, (std::vector{first, third, second}));
  EXPECT_EQ(all.lost, 3U);
  EXPECT_EQ(all.unparsed, 3U);
}

TEST(WhenSettled, SaysOfHowManyCellsSilenceProvesLess) {
  Settled settled;
  settled.agreed = true;
  settled.judged = {{.judgement = checks::CellJudgement::as_specified,
                     .expected = checks::Allowance::denied,
                     .network_seen = true,
                     .seen_earlier = true}};
  settled.last.node_unasked = "pods is forbidden";
  const checks::Finding pass{.verdict = base::Verdict::pass,
                             .sentence = "1 of 1 cell",
                             .observed = "as specified",
                             .evidence = {}};
  EXPECT_EQ(when_settled(pass, settled).sentence,
            "1 of 1 cell; silence proves less in 1 closed cell: one of the pods was seen to have a "
            "network before this sweep only, and its node cannot be asked now: pods is forbidden");
  settled.judged[0].seen_earlier = false;
  EXPECT_EQ(when_settled(pass, settled).sentence, "1 of 1 cell");
}

// A series of one flow that is closed, with these windows, in ms; a negative one is not known.
WriteSeries closed_series(const std::vector<int>& windows) {
  WriteSeries series{.change = "it", .what = "create NetworkPolicy default/it"};
  series.flows = {{.cell = {0, 1, 0}}, {.cell = {0, 1, 0}, .change = PolicyChange::to_denied}};
  for (const int window : windows) {
    WatchedWrite write{.stamps = {.sent_ns = 1'000, .acked_ns = 2'000, .programmed_ns = 501'000},
                       .windows = std::vector<checks::FlowWindow>(2)};
    write.windows[0].edge = WindowEdge::known;
    auto& closed = write.windows[1];
    closed.edge = window < 0 ? WindowEdge::wide : WindowEdge::known;
    if (window > 0) {
      closed.packets = static_cast<std::uint64_t>(window);
      closed.bytes = closed.packets * 60;
      closed.first_ns = 500'000;
      closed.last_ns = 1'000 + window * 1'000'000;
      closed.from_sent_ns = window * 1'000'000;
      closed.after_claim_ns = window * 1'000'000 - 500'000;
    }
    closed.error_ns = 700'000;
    series.repetitions.push_back(std::move(write));
  }
  return series;
}

TEST(WindowRecords, AreTheMiddleOfTheRepetitionsThatCount) {
  const auto series = closed_series({48, 50, 52, -1, 49, 51, 50});
  const auto records = window_records("direct", series, two_pods());
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1].direction, "stays");
  EXPECT_FALSE(records[1].window);
  const auto& closes = records[0];
  EXPECT_EQ(closes.direction, "closes");
  EXPECT_EQ(closes.repetitions, 6);
  EXPECT_EQ(closes.excluded, 1);
  ASSERT_TRUE(closes.window);
  EXPECT_DOUBLE_EQ(closes.window->median_ns, 50e6);
  EXPECT_DOUBLE_EQ(closes.window->max_ns, 52e6);
  ASSERT_TRUE(closes.window->interval);
  EXPECT_DOUBLE_EQ(closes.window->interval->lower, 48e6);
  EXPECT_DOUBLE_EQ(closes.window->interval->upper, 52e6);
  EXPECT_FALSE(closes.window->p99_ns) << "299 repetitions are needed";
  EXPECT_EQ(closes.packets, 300u);
  EXPECT_EQ(closes.bytes, 18'000u);
  EXPECT_EQ(closes.error_ns, 700'000);
  EXPECT_DOUBLE_EQ(closes.claimed_ns.value_or(0), 500'000);
  EXPECT_DOUBLE_EQ(closes.after_claim_ns.value_or(0), 49.5e6);
  ASSERT_EQ(closes.flows.size(), 1u);
  EXPECT_EQ(closes.flows[0].first_ns, 499'000);
  EXPECT_EQ(closes.flows[0].last_ns, 52'000'000);
}

TEST(WindowRecords, OfAnUndoneWriteAreTheOtherWayRound) {
  auto series = closed_series({1});
  series.undoes = true;
  EXPECT_EQ(window_records("direct", series, two_pods())[0].direction, "opens");
  const base::Duration budget = std::chrono::milliseconds(20);
  EXPECT_EQ(judge_windows({series}, PolicyChange::to_allowed, budget).evidence["judged"], 1);
  EXPECT_EQ(judge_windows({series}, PolicyChange::to_denied, budget).evidence["judged"], 0);
}

// As a leak that the watch did not see the end of, after `ms`.
void outlast(WatchedWrite& repetition, int ms) {
  auto& window = repetition.windows[1];
  window.edge = WindowEdge::unseen;
  window.packets = 1;
  window.from_sent_ns = ms * 1'000'000;
  window.at_least_ns = window.from_sent_ns;
  window.at_most_ns.reset();
}

TEST(WindowRecords, OneThatDidNotEndIsTheWorstWithNoUpperBound) {
  auto series = closed_series({1, 1, 1, 1, 1, 1});
  outlast(series.repetitions[3], 110);
  const auto few = window_records("direct", series, two_pods())[0];
  EXPECT_EQ(few.repetitions, 6);
  EXPECT_EQ(few.unended, 1);
  EXPECT_EQ(few.excluded, 0);
  ASSERT_TRUE(few.window);
  EXPECT_DOUBLE_EQ(few.window->max_ns, 110e6);
  EXPECT_TRUE(few.window->max_at_least);
  EXPECT_DOUBLE_EQ(few.window->median_ns, 1e6);
  EXPECT_FALSE(few.window->median_at_least);
  EXPECT_FALSE(few.window->interval);
  // Half of them: the middle is not known either.
  outlast(series.repetitions[0], 110);
  outlast(series.repetitions[5], 110);
  EXPECT_TRUE(window_records("direct", series, two_pods())[0].window->median_at_least);
  // All of them.
  for (auto& repetition : series.repetitions) outlast(repetition, 110);
  const auto all = window_records("direct", series, two_pods())[0];
  EXPECT_EQ(all.unended, 6);
  ASSERT_TRUE(all.window);
  EXPECT_DOUBLE_EQ(all.window->median_ns, 110e6);
  EXPECT_TRUE(all.window->median_at_least);
  // Where all ended nothing is said to be longer.
  const auto ended = window_records("direct", closed_series({1, 1, 1}), two_pods())[0];
  EXPECT_EQ(ended.unended, 0);
  EXPECT_FALSE(ended.window->max_at_least || ended.window->median_at_least);
}

TEST(WindowRecords, WhatAFlowThatStaysLostIsThere) {
  auto series = closed_series({1, 1});
  EXPECT_EQ(window_records("direct", series, two_pods())[1].packets, 0u);
  EXPECT_EQ(window_records("direct", series, two_pods())[1].repetitions, 2);
  series.repetitions[1].windows[0].packets = 7;
  EXPECT_EQ(window_records("direct", series, two_pods())[1].packets, 7u);
}

TEST(JudgeWindows, AReplacedRepetitionDecidesOnlyWhereItWasSurelyLate) {
  const base::Duration budget = std::chrono::milliseconds(20);
  auto series = closed_series({1, -1, 1, 1});
  for (auto& repetition : series.repetitions) {
    auto& window = repetition.windows[1];
    if (window.edge == WindowEdge::known) window.at_most_ns = 2'000'000;
  }
  const auto judged = [&] { return judge_windows({series}, PolicyChange::to_denied, budget); };
  // Nothing took its place: it cannot be told.
  mark_replaced(series, 4);
  EXPECT_EQ(judged().verdict, base::Verdict::inconclusive);
  mark_replaced(series, 3);
  EXPECT_FALSE(series.repetitions[0].replaced);
  EXPECT_TRUE(series.repetitions[1].replaced);
  EXPECT_EQ(judged().verdict, base::Verdict::pass) << judged().sentence;
  EXPECT_EQ(judged().evidence["replaced"], 1);
  EXPECT_EQ(judged().evidence["judged"], 3);
  series.repetitions[1].windows[1].at_least_ns = 21'000'000;
  EXPECT_EQ(judged().verdict, base::Verdict::fail);
  // A leak to the end of the watch is no stall.
  auto endless = closed_series({1, 1});
  outlast(endless.repetitions[0], 110);
  mark_replaced(endless, 1);
  EXPECT_FALSE(endless.repetitions[0].replaced);
}

TEST(EstablishedRecords, CountWhatBecameOfFlowsAndJudgeOnlyWhatIsExpected) {
  auto series = closed_series({1});
  using bench::HeldEnd;
  using bench::HeldKind;
  const auto held = [&](HeldKind kind, HeldEnd end, std::int64_t ended_ns,
                        std::int64_t unanswered_ns) {
    bench::HeldConnection connection;
    connection.end = end;
    connection.ended_ns = ended_ns;
    connection.first_unanswered_ns = unanswered_ns;
    series.held.push_back({kind, std::move(connection), 1'000});
  };
  held(HeldKind::busy_tcp, HeldEnd::reset, 3'001'000, 0);
  held(HeldKind::busy_tcp, HeldEnd::stalled, 0, 5'001'000);
  held(HeldKind::udp, HeldEnd::surviving, 0, 0);
  const auto records =
      established_records("direct", series, EstablishedSpec{.udp = FlowFate::surviving});
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].ends, (std::map<std::string, int>{{"killed", 1}, {"stalled", 1}}));
  EXPECT_DOUBLE_EQ(records[0].after_ns.value_or(0), 4e6);
  EXPECT_FALSE(records[0].expected);
  EXPECT_EQ(judge_established(records, {.udp = FlowFate::surviving}).verdict, base::Verdict::pass);

  const EstablishedSpec strict{.busy_tcp = FlowFate::killed, .udp = FlowFate::surviving};
  const auto finding = judge_established(established_records("direct", series, strict), strict);
  EXPECT_EQ(finding.verdict, base::Verdict::fail);
  EXPECT_EQ(finding.observed, "2 of 3");
  EXPECT_EQ(judge_established({}, strict).verdict, base::Verdict::inconclusive);
}

TEST(EstablishedRecords, WhatWasNotOpenIsNotAsExpected) {
  const auto record = [](std::string_view kind, std::map<std::string, int> ends) {
    return reports::EstablishedRecord{
        .kind = std::string(kind), .ends = std::move(ends), .expected = "stalled"};
  };
  const EstablishedSpec both{.busy_tcp = FlowFate::stalled, .udp = FlowFate::stalled};
  const auto tcp = record("busy_tcp", {{"stalled", 2}});
  EXPECT_EQ(judge_established({tcp, record("udp", {{"stalled", 1}})}, both).verdict,
            base::Verdict::pass);
  // A kind of which there was no flow.
  const auto one_kind = judge_established({tcp}, both);
  EXPECT_EQ(one_kind.verdict, base::Verdict::inconclusive);
  EXPECT_NE(one_kind.sentence.find("none of kind udp was open"), std::string::npos);
  EXPECT_EQ(judge_established({tcp, record("udp", {{"not_opened", 1}})}, both).verdict,
            base::Verdict::inconclusive);
  // One that could not be opened beside others that were.
  const auto some =
      judge_established({tcp, record("udp", {{"stalled", 1}, {"not_opened", 1}})}, both);
  EXPECT_EQ(some.verdict, base::Verdict::inconclusive);
  EXPECT_EQ(some.evidence["not_opened"], 1);
  // That hides none that became something else.
  EXPECT_EQ(
      judge_established({record("busy_tcp", {{"surviving", 1}, {"not_opened", 1}})}, both).verdict,
      base::Verdict::fail);
}

}  // namespace
}  // namespace stackbench
