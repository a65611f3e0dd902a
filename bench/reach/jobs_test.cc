#include <limits>

#include <gtest/gtest.h>

#include "bench/agent/protocol.h"
#include "bench/reach/flow_watch.h"
#include "bench/reach/hold.h"
#include "bench/reach/knock.h"
#include "bench/reach/reach.h"

namespace bench {
namespace {

using base::Json;
using base::Protocol;

base::Endpoint at(std::uint16_t port) {
  return base::Endpoint::parse(fmt::format("10.244.1.2:{}", port)).value();
}

template <typename Job>
std::string refusal(const base::Result<Job>& job) {
  return job ? "" : job.error().message;
}

FlowSendJob eight_flows() {
  FlowSendJob job;
  for (std::uint32_t id = 0; id < 8; ++id) {
    job.flows.push_back({.id = id, .to = at(static_cast<std::uint16_t>(80 + id))});
  }
  return job;
}

TEST(ReachJob, ComesThroughTheWireAndIsBounded) {
  ReachJob job{.targets = {{.endpoint = at(80), .protocol = Protocol::UDP, .server_id = 3}}};
  const auto read = parse_reach_job(base::to_json(job));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->targets, job.targets);
  EXPECT_EQ(read->timeout, job.timeout);

  job.targets.resize(most_reach_targets, job.targets.front());
  EXPECT_TRUE(parse_reach_job(base::to_json(job)));
  job.targets.push_back(job.targets.front());
  EXPECT_THAT(refusal(parse_reach_job(base::to_json(job))), ::testing::StartsWith("job.targets: "));
  job.targets.resize(1);
  job.timeout = std::chrono::seconds(11);
  EXPECT_THAT(refusal(parse_reach_job(base::to_json(job))), ::testing::StartsWith("job.timeout: "));
  job.timeout = std::chrono::milliseconds(200);
  job.concurrency = 0;
  EXPECT_THAT(refusal(parse_reach_job(base::to_json(job))),
              ::testing::StartsWith("job.concurrency: "));
  job.concurrency = 1;
  job.targets[0].server_id = 0;
  EXPECT_THAT(refusal(parse_reach_job(base::to_json(job))), ::testing::HasSubstr("server_id"));
  EXPECT_FALSE(parse_reach_job(base::to_json(ReachJob{})));
}

TEST(ReachJob, HasTheTimeItsTargetsTakeOneAfterAnother) {
  ReachJob job{.timeout = std::chrono::milliseconds(100), .concurrency = 10};
  job.targets.resize(21);
  EXPECT_EQ(reach_time_limit(job), std::chrono::milliseconds(10'300));
}

TEST(ListenJob, NamesAPortOnce) {
  ListenJob job{.server_id = 1, .ports = {{80, Protocol::TCP}, {80, Protocol::UDP}}};
  EXPECT_TRUE(parse_listen_job(base::to_json(job)));
  job.ports.push_back({80, Protocol::UDP});
  EXPECT_EQ(refusal(parse_listen_job(base::to_json(job))), "job.ports: UDP 80 is there twice");
  EXPECT_FALSE(parse_listen_job(base::to_json(ListenJob{.server_id = 1, .ports = {}})));
}

TEST(FlowSendJob, HasAtMostEightFlowsAtEightThousandAndTwentyThousandInAll) {
  FlowSendJob job = eight_flows();
  job.rate.per_second = 2'500;
  EXPECT_TRUE(parse_flow_send_job(base::to_json(job)));
  job.rate.per_second = 2'501;
  EXPECT_THAT(refusal(parse_flow_send_job(base::to_json(job))),
              ::testing::StartsWith("job.rate: "));
  job.flows.resize(1);
  job.rate.per_second = 8'000;
  EXPECT_TRUE(parse_flow_send_job(base::to_json(job)));
  job.rate.per_second = 8'001;
  EXPECT_THAT(refusal(parse_flow_send_job(base::to_json(job))),
              ::testing::StartsWith("job.rate: "));
  job.rate.per_second = 0;
  EXPECT_FALSE(parse_flow_send_job(base::to_json(job)));

  job = eight_flows();
  job.flows.push_back({.id = 8, .to = at(99)});
  EXPECT_THAT(refusal(parse_flow_send_job(base::to_json(job))),
              ::testing::StartsWith("job.flows: expected 1 to 8"));
  job = eight_flows();
  job.duration = longest_flow_watch + std::chrono::seconds(1);
  EXPECT_THAT(refusal(parse_flow_send_job(base::to_json(job))),
              ::testing::StartsWith("job.duration: "));
}

TEST(FlowSendJob, TellsItsFlowsApart) {
  FlowSendJob job = eight_flows();
  job.flows[1].id = 0;
  EXPECT_EQ(refusal(parse_flow_send_job(base::to_json(job))),
            "job.flows: two of them have the id 0");
  job = eight_flows();
  job.flows[1].to = job.flows[0].to;
  EXPECT_FALSE(parse_flow_send_job(base::to_json(job)));
  job.flows[1].protocol = Protocol::UDP;
  EXPECT_TRUE(parse_flow_send_job(base::to_json(job)));
}

TEST(HoldJob, IsBounded) {
  HoldJob job{.connections = {{.kind = HeldKind::udp, .to = at(80)}}};
  const auto read = parse_hold_job(base::to_json(job));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->connections, job.connections);
  job.interval = std::chrono::microseconds(100);
  EXPECT_THAT(refusal(parse_hold_job(base::to_json(job))), ::testing::StartsWith("job.interval: "));
  job.interval = std::chrono::milliseconds(1);
  // A job that is stopped must end before its worker is killed.
  job.stall_after = std::chrono::seconds(3);
  EXPECT_FALSE(parse_hold_job(base::to_json(job)));
}

TEST(KnockJob, IsBounded) {
  KnockJob job{.to = at(80), .canary = std::string(32, 'a')};
  const auto read = parse_knock_job(base::to_json(job));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->to, job.to);
  EXPECT_EQ(read->canary, job.canary);
  job.canary = "abc";
  EXPECT_THAT(refusal(parse_knock_job(base::to_json(job))), ::testing::StartsWith("job.canary: "));
  job = {.kind = WorkloadKind::udp_rr, .to = at(80)};
  EXPECT_THAT(refusal(parse_knock_job(base::to_json(job))), ::testing::StartsWith("job.kind: "));
  job = {.to = at(80), .rate = base::RequestRate{9'000}};
  EXPECT_THAT(refusal(parse_knock_job(base::to_json(job))), ::testing::StartsWith("job.rate: "));
  job = {.to = at(80), .timeout = std::chrono::seconds(6)};
  EXPECT_THAT(refusal(parse_knock_job(base::to_json(job))), ::testing::StartsWith("job.timeout: "));
}

TEST(ProbeLists, ComeThroughTheWire) {
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  const SentProbes sent{{{.number = 7, .before_ns = 1'000'000'000, .after_ns = 1'000'004'000},
                         {.number = 9, .before_ns = 1'001'000'000, .after_ns = 1'001'003'000},
                         {.number = 10,
                          .before_ns = 1'002'000'000,
                          .after_ns = 1'002'000'100,
                          .error_code = ENETUNREACH},
                         {.number = 0xffffffff, .before_ns = -most, .after_ns = most},
                         {.number = 0, .before_ns = most, .after_ns = 0}}};
  const auto read = base::from_json<SentProbes>(base::to_json(sent), "probes");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, sent);
  EXPECT_EQ(base::dump_json(base::to_json(SentProbes{{sent.list[0], sent.list[1]}})),
            "[7,1000000000,4000,0,2,1000000,3000,0]");

  const ReceivedProbes received{{{.number = 1, .received_ns = 50},
                                 {.number = 0, .received_ns = most},
                                 {.number = 0xffffffff, .received_ns = -most}}};
  const auto again = base::from_json<ReceivedProbes>(base::to_json(received), "probes");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, received);
}

TEST(Knocks, ComeThroughTheWire) {
  const Knocks knocks{{{.number = 3,
                        .before_ns = 1'000'000'000,
                        .after_ns = 1'000'100'000,
                        .outcome = ReachOutcome::answered},
                       {.number = 4,
                        .before_ns = 1'000'500'000,
                        .after_ns = 1'000'540'000,
                        .outcome = ReachOutcome::refused}}};
  EXPECT_EQ(base::dump_json(base::to_json(knocks)), "[3,1000000000,100000,0,1,500000,40000,4]");
  const auto read = base::from_json<Knocks>(base::to_json(knocks), "knocks");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, knocks);
  for (const auto* text : {"{}", "[1,2,3]", "[1,2,3,-1]", "[1,2,3,8]"}) {
    EXPECT_FALSE(base::from_json<Knocks>(base::parse_json(text).value(), "knocks")) << text;
  }
  Knocks full;
  for (std::uint32_t i = 0; i < most_kept_knocks; ++i) {
    const std::int64_t at = std::int64_t{i} * 1'000'000'000 + 123'456'789'012'345;
    full.list.push_back({.number = i, .before_ns = at, .after_ns = at + 4'999'999'999});
  }
  EXPECT_LT(base::dump_json(base::to_json(full)).size() + 16'384, longest_message);
}

TEST(ProbeLists, FitIntoAMessageWhenTheyAreFull) {
  // The slowest pace has the longest differences.
  SentProbes sent;
  ReceivedProbes received;
  for (std::uint32_t i = 0; i < most_kept_probes; ++i) {
    const std::int64_t at = std::int64_t{i} * 1'000'000'000 + 123'456'789'012'345;
    sent.list.push_back({.number = i, .before_ns = at, .after_ns = at + 99'999});
    received.list.push_back({.number = i, .received_ns = at});
  }
  constexpr std::size_t beside_them = 16'384;
  EXPECT_LT(base::dump_json(base::to_json(sent)).size() + beside_them, longest_message);
  EXPECT_LT(base::dump_json(base::to_json(received)).size() + beside_them, longest_message);
}

TEST(ProbeLists, AreRefusedWhenTheyAreNone) {
  for (const auto* text : {"{}", "[1]", "[1,2,3]", "[1,2,3,\"4\"]", "[1,2,3,0.5]"}) {
    EXPECT_FALSE(base::from_json<SentProbes>(base::parse_json(text).value(), "probes")) << text;
  }
  EXPECT_FALSE(base::from_json<ReceivedProbes>(base::parse_json("[1,null]").value(), "probes"));
  Json long_list = Json::array();
  for (std::size_t i = 0; i < 2 * (most_kept_probes + 1); ++i) long_list.push_back(1);
  EXPECT_FALSE(base::from_json<ReceivedProbes>(long_list, "probes"));
}

TEST(ReachStamps, AreMovedToOurClockWhereThereIsOne) {
  constexpr auto ahead = std::chrono::nanoseconds(100);
  const auto sweep = on_our_clock(
      ReachResult{.cells = {{.sent_ns = 500, .done_ns = 600}}, .began_ns = 400, .ended_ns = 700},
      ahead);
  EXPECT_EQ(sweep.cells[0].sent_ns, 400);
  EXPECT_EQ(sweep.cells[0].done_ns, 500);
  EXPECT_EQ(sweep.ended_ns, 600);
  HoldResult held;
  held.connections.push_back(
      {.opened_ns = 300, .last_reply_ns = 400, .stalls = {{.from_ns = 150, .to_ns = 250}}});
  held = on_our_clock(std::move(held), ahead);
  EXPECT_EQ(held.connections[0].last_reply_ns, 300);
  EXPECT_EQ(held.connections[0].ended_ns, 0);  // it never happened
  EXPECT_EQ(held.connections[0].stalls[0].to_ns, 150);
}

}  // namespace
}  // namespace bench
