// What is noted one by one for events: failed requests, flows that moved, arrivals; and a window
// that begins when it was told to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/test_servers.h"

namespace bench {
namespace {

using std::chrono::milliseconds;

ClientJob noted_job(WorkloadKind kind, const base::Endpoint& server) {
  auto job = short_job(server);
  job.workload.kind = kind;
  job.workload.rate = base::RequestRate{1'000};
  job.workload.connections = 4;
  job.workload.duration = milliseconds(150);
  job.note_events = true;
  return job;
}

TEST(Noted, EveryFailedRequestHasItsStampsAndItsClass) {
  std::atomic<std::uint64_t> requests = 0;
  ScriptedServer server([&](int fd, const RequestHeader& request) {
    if (++requests % 10 != 0) {
      return ScriptedServer::send_text(fd, ScriptedServer::reply_to(request));
    }
    ScriptedServer::reset_on_close(fd);
    return false;
  });
  auto job = noted_job(WorkloadKind::tcp_crr, server.endpoint());
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->errors.reset, 0U);
  EXPECT_EQ(result->failures.size(), result->errors.total());
  EXPECT_EQ(result->failures_lost, 0U);
  for (const auto& failure : result->failures) {
    EXPECT_EQ(failure.what, FailureClass::reset);
    EXPECT_LE(failure.due_ns, failure.begun_ns);
    EXPECT_LE(failure.begun_ns, failure.ended_ns);
    EXPECT_LE(failure.due_ns, result->end_ns);
  }
  // Nobody else pays for the list.
  job.note_events = false;
  const auto plain = run_client(job, -1);
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_GT(plain->errors.total(), 0U);
  EXPECT_TRUE(plain->failures.empty());
}

TEST(Noted, TheLongestGapBetweenAnswersIsToldWhereItEnded) {
  std::atomic<std::uint64_t> requests = 0;
  ScriptedServer server([&](int fd, const RequestHeader& request) {
    // One of them is kept waiting, and those behind it.
    if (++requests == 20) std::this_thread::sleep_for(milliseconds(60));
    return ScriptedServer::send_text(fd, ScriptedServer::reply_to(request));
  });
  auto job = noted_job(WorkloadKind::tcp_rr, server.endpoint());
  job.workload.connections = 1;
  job.workload.warm_up = base::Duration(0);
  job.answer_slice = milliseconds(10);
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->answer_slices.size(), 16U);
  std::uint64_t answered = 0;
  AnswerSlice worst;
  for (const auto& slice : result->answer_slices) {
    answered += slice.answered;
    if (slice.longest_gap_ns > worst.longest_gap_ns) worst = slice;
    EXPECT_EQ(slice.answered == 0, slice.last_ns == 0);
    EXPECT_LE(slice.gap_ended_ns, slice.last_ns);
  }
  EXPECT_EQ(answered, result->requests);
  EXPECT_GE(worst.longest_gap_ns, 60'000'000);
  EXPECT_GE(worst.gap_ended_ns - worst.longest_gap_ns, result->start_ns);
  // Nobody else pays for it.
  job.answer_slice.reset();
  EXPECT_TRUE(run_client(job, -1)->answer_slices.empty());
}

TEST(Noted, AFlowThatAnotherServerAnswersHasMoved) {
  // Every connection's third reply and all later ones name another server.
  ScriptedServer server([](int fd, const RequestHeader& request) {
    return ScriptedServer::send_text(
        fd, ScriptedServer::reply_to(request, request.sequence < 3 ? 1 : 2));
  });
  const auto result = run_client(noted_job(WorkloadKind::tcp_rr, server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->flows_of, (std::map<std::string, std::uint64_t>{{"1", 4}}));
  EXPECT_EQ(result->moves_lost, 0U);
  ASSERT_EQ(result->moves.size(), 4U);
  for (const auto& move : result->moves) {
    EXPECT_EQ(move.from, 1U);
    EXPECT_EQ(move.to, 2U);
    EXPECT_LE(move.at_ns, result->end_ns);
  }
}

TEST(Noted, WithoutKeptConnectionsThereIsNoFlowToMove) {
  std::atomic<std::uint32_t> requests = 0;
  ScriptedServer server([&](int fd, const RequestHeader& request) {
    return ScriptedServer::send_text(fd, ScriptedServer::reply_to(request, 1 + requests++ % 2));
  });
  const auto result = run_client(noted_job(WorkloadKind::tcp_crr, server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->moves.empty());
  EXPECT_TRUE(result->flows_of.empty());
}

TEST(Noted, TheWindowBeginsWhenItWasToldTo) {
  RunningServer server({.kind = WorkloadKind::tcp_crr, .listen = {}});
  auto job = noted_job(WorkloadKind::tcp_crr, server.endpoint());
  const auto begins = base::monotonic_now() + job.workload.warm_up + milliseconds(50);
  job.window_begins_ns = begins.ns;
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->start_ns, begins.ns);
  EXPECT_GE(result->end_ns, (begins + job.workload.duration).ns);
}

class NotedArrivals : public ::testing::TestWithParam<WorkloadKind> {};

TEST_P(NotedArrivals, AreStampedInOrderWhereTheJobAsksForIt) {
  for (const bool asked : {true, false}) {
    RunningServer server({.kind = GetParam(), .listen = {}, .note_arrivals = asked});
    const auto begun = base::monotonic_now().ns;
    const auto client = run_client(noted_job(GetParam(), server.endpoint()), -1);
    ASSERT_TRUE(client) << client.error().message;
    const auto result = server.result();
    if (!asked) {
      EXPECT_TRUE(result.arrivals_ns.empty());
      continue;
    }
    // Of UDP every datagram, of TCP every connection.
    const bool datagrams = protocol_of(GetParam()) == base::Protocol::UDP;
    EXPECT_EQ(result.arrivals_ns.size(), datagrams ? result.requests : result.connections);
    EXPECT_GT(result.arrivals_ns.size(), 0U);
    EXPECT_TRUE(std::ranges::is_sorted(result.arrivals_ns));
    EXPECT_GE(result.arrivals_ns.front(), begun);
    EXPECT_LE(result.arrivals_ns.back(), base::monotonic_now().ns);
    EXPECT_EQ(result.arrivals_lost, 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(, NotedArrivals,
                         ::testing::Values(WorkloadKind::tcp_crr, WorkloadKind::udp_rr),
                         [](const auto& instance) {
                           return std::string(base::enum_name(instance.param));
                         });

}  // namespace
}  // namespace bench
