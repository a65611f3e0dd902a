// A listening agent and controllers whose streams break: nothing may be lost, nothing done twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/pidfd.h"
#include "bench/agent/client.h"
#include "bench/agent/testing/listening_agent.h"

namespace bench::testing {
namespace {

using base::ErrorKind;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

const std::string executable = FAKE_AGENT;

base::UniqueFd watch(pid_t pid) { return base::UniqueFd(::pidfd_open(pid, 0)); }
bool wait_until_gone(const base::UniqueFd& pidfd) {
  if (!pidfd) return true;
  pollfd watched{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&watched, 1, 10'000) == 1;
}

ServerJob server_job(std::uint16_t port = 7001) {
  return {.listen = {base::Endpoint{base::IpAddress::parse("127.0.0.1").value(), port}}};
}
ClientJob client_job(FakeRun what, base::Duration duration = milliseconds(1)) {
  return {.workload = {.duration = duration, .timeout = milliseconds(1)},
          .servers = server_job().listen,
          .seed = what};
}

class SessionTest : public ::testing::Test {
 protected:
  void start(const std::vector<std::string>& options = {}) {
    const auto started = agent_.start(options);
    ASSERT_TRUE(started) << started.error().message;
  }
  AgentClient connect(Wires& wires, ConnectOptions options = {}) {
    auto client = connect_by(wires, std::move(options));
    if (!client) throw std::runtime_error(client.error().message);
    return *std::move(client);
  }
  static void expect_alive(AgentClient& client) {
    const auto result = client.run(client_job(fake_run_ends));
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->requests, fake_requests);
  }

  ListeningAgent agent_{executable};
};

// Some of everything: a server that is stopped and one that is killed, runs that end well and
// badly, a ping. Three jobs and two errors of jobs; every answer is looked at.
void converse(AgentClient& client) {
  const auto server = client.start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(server->endpoints, server_job().listen);
  EXPECT_GT(server->worker_pid, 0);
  const auto in_use = client.start_server(server_job(fake_port_in_use));
  ASSERT_FALSE(in_use);
  EXPECT_EQ(in_use.error().code, EADDRINUSE) << in_use.error().message;
  const auto run = client.run(client_job(fake_run_ends));
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->requests, fake_requests);
  const auto failed = client.run(client_job(fake_run_fails));
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("connection refused"));
  const auto killed = client.start_server(server_job(7002));
  ASSERT_TRUE(killed) << killed.error().message;
  const auto gone = client.kill(killed->id);
  EXPECT_TRUE(gone) << gone.error().message;
  const auto clock = client.ping(1);
  EXPECT_TRUE(clock) << clock.error().message;
  const auto stopped = client.stop_server(server->id);
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(stopped->requests, fake_server_requests);
}
constexpr std::size_t jobs_of_a_conversation = 5;

TEST_F(SessionTest, IsTheSameConversationAsOverAPipe) {
  start();
  Wires wires(agent_.socket());
  auto client = connect(wires);
  converse(client);
  EXPECT_EQ(wires.opened(), 1U);
  EXPECT_EQ(agent_.jobs(), jobs_of_a_conversation);
}

// The heart of it: the same conversation, cut after every few bytes of it, in either direction, in
// the middle of lines, before and after every answer.
class CutTest : public SessionTest, public ::testing::WithParamInterface<bool> {
 protected:
  // How many bytes go in that direction when nothing is cut.
  std::size_t length() {
    Wires wires(agent_.socket());
    auto client = connect(wires);
    const auto carried = [&] { return GetParam() ? wires.answers() : wires.commands(); };
    handshake_ = carried();
    converse(client);
    return carried();
  }
  [[nodiscard]] static Cut after(std::size_t bytes) {
    return GetParam() ? Cut{.answers = bytes} : Cut{.commands = bytes};
  }
  // A stream that breaks before there is a session is the end of it.
  std::size_t handshake_ = 0;
};

TEST_P(CutTest, LosesNothingAndDoesNothingTwice) {
  start();
  const std::size_t whole = length();
  ASSERT_GT(whole, handshake_);
  for (std::size_t cut = handshake_ + 1; cut < whole; cut += 61) {
    SCOPED_TRACE(fmt::format("cut after {} of {} bytes", cut, whole));
    const std::size_t before = agent_.jobs();
    Wires wires(agent_.socket());
    wires.cut({after(cut)});
    auto client = connect(wires);
    converse(client);
    EXPECT_EQ(wires.opened(), 2U);
    ASSERT_EQ(agent_.jobs() - before, jobs_of_a_conversation);
    if (HasFatalFailure()) return;
  }
}

TEST_P(CutTest, LosesNothingWhenTheNextStreamsBreakAsWell) {
  start();
  const std::size_t whole = length();
  for (std::size_t cut = handshake_ + 1; cut < whole; cut += 331) {
    SCOPED_TRACE(fmt::format("cut after {} of {} bytes", cut, whole));
    const std::size_t before = agent_.jobs();
    Wires wires(agent_.socket());
    // In the greeting, in the answer to the attach or behind it, and once more.
    wires.cut({after(cut), after(cut % 97 + 1), after(cut % 1000 + 300), after(whole / 3)});
    auto client = connect(wires);
    converse(client);
    EXPECT_GE(wires.opened(), 3U);
    ASSERT_EQ(agent_.jobs() - before, jobs_of_a_conversation);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Directions, CutTest, ::testing::Bool(),
                         [](const auto& it) { return it.param ? "Answers" : "Commands"; });

TEST_F(SessionTest, GoesOnWhenAStreamHasGoneSilent) {
  start();
  Wires wires(agent_.socket());
  wires.cut({{.answers = 900, .silently = true}});
  auto client = connect(wires, {.longest_silence = milliseconds(150)});
  converse(client);
  EXPECT_GE(wires.opened(), 2U);
  EXPECT_EQ(agent_.jobs(), jobs_of_a_conversation);
}

TEST_F(SessionTest, KeepsARunsResultForAControllerThatWasAway) {
  start();
  Wires wires(agent_.socket());
  base::UniqueFd worker;
  const auto reattach = [&]() -> base::Result<AgentStream> {
    // Away until the run is over and its worker gone.
    if (!wait_until_gone(worker)) return base::fail(ErrorKind::peer_lost, "the run goes on");
    return wires.open();
  };
  auto client = connect(wires, {.reattach = reattach});
  const auto id = client.send_run(client_job(fake_run_ends, milliseconds(100)));
  ASSERT_TRUE(id) << id.error().message;
  const auto pid = client.await_worker_pid(*id);
  ASSERT_TRUE(pid) << pid.error().message;
  worker = watch(*pid);
  wires.cut_now();
  const auto result = client.await_run(*id);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->requests, fake_requests);
  EXPECT_EQ(wires.opened(), 2U);
  EXPECT_EQ(agent_.jobs(), 1U);
}

TEST_F(SessionTest, StopsTrafficWithoutAControllerAndSaysSoToTheOneThatComesBack) {
  start({"--idle-after", "100ms"});
  Wires wires(agent_.socket());
  base::UniqueFd worker;
  const auto reattach = [&]() -> base::Result<AgentStream> {
    if (!wait_until_gone(worker)) return base::fail(ErrorKind::peer_lost, "traffic goes on");
    return wires.open();
  };
  auto client = connect(wires, {.heartbeat = milliseconds(20), .reattach = reattach});
  const auto server = client.start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  worker = watch(server->worker_pid);
  wires.cut_now();
  const auto result = client.await_server_result(server->id);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::timed_out);
  EXPECT_THAT(result.error().message, HasSubstr("the controller said nothing for 100 ms"));
  EXPECT_EQ(wires.opened(), 2U);
  // It idles, and goes on for whoever comes.
  expect_alive(client);
}

TEST_F(SessionTest, LeavesByItselfWhereItIsAskedToAndLeftAlone) {
  start({"--leave-after", "300ms"});
  const auto agent = watch(agent_.process().pid());
  {
    Wires wires(agent_.socket());
    // Whoever says something now and then keeps it.
    auto client = connect(wires, {.heartbeat = milliseconds(20)});
    const auto begun = base::monotonic_now();
    while (base::monotonic_now() - begun < milliseconds(500)) expect_alive(client);
  }
  EXPECT_TRUE(wait_until_gone(agent));
}

TEST_F(SessionTest, GivesWayToAnotherControllerAndTellsTheFirstWhy) {
  start();
  Wires first_wires(agent_.socket());
  auto first = connect(first_wires);
  const auto server = first.start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  const auto worker = watch(server->worker_pid);

  Wires second_wires(agent_.socket());
  auto second = connect(second_wires);
  EXPECT_TRUE(wait_until_gone(worker));
  expect_alive(second);
  // The first comes back with the stream it lost, and thereby cuts the second's.
  const auto refused = first.stop_server(server->id);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::peer_lost);
  EXPECT_THAT(refused.error().message, HasSubstr("another controller has taken over"));
  EXPECT_EQ(first.run(client_job(fake_run_ends)).error(), refused.error());
  expect_alive(second);
  EXPECT_EQ(second_wires.opened(), 2U);
}

TEST_F(SessionTest, DoesNotMistakeAnotherProcessForTheAgentItLost) {
  start();
  Wires wires(agent_.socket());
  auto client = connect(wires);
  const auto server = client.start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  const auto worker = watch(server->worker_pid);
  // Killed, so that it leaves its socket behind; and started again, as a container is.
  ASSERT_TRUE(agent_.process().kill());
  start();
  EXPECT_TRUE(wait_until_gone(worker));
  const auto lost = client.stop_server(server->id);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, ErrorKind::peer_lost);
  EXPECT_EQ(lost.error().message,
            "agent client-0 in environment test was restarted, and what ran in it is gone");
  EXPECT_EQ(agent_.jobs(), 1U);
}

TEST_F(SessionTest, EndsTheJobsOfAControllerThatCannotComeBack) {
  start();
  base::UniqueFd worker;
  {
    Wires wires(agent_.socket());
    auto stream = wires.open();
    ASSERT_TRUE(stream) << stream.error().message;
    auto client = AgentClient::connect(std::move(stream->to_agent), std::move(stream->from_agent),
                                       "agent client-0");
    ASSERT_TRUE(client) << client.error().message;
    const auto server = client->start_server(server_job());
    ASSERT_TRUE(server) << server.error().message;
    worker = watch(server->worker_pid);
  }
  EXPECT_TRUE(wait_until_gone(worker));
  Wires wires(agent_.socket());
  auto client = connect(wires);
  expect_alive(client);
}

TEST_F(SessionTest, SurvivesAFloodOfControllersThatSayNothing) {
  start();
  Wires wires(agent_.socket());
  auto client = connect(wires);
  const auto server = client.start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  for (int i = 0; i < 100; ++i) {
    const auto fd = connect_to_agent(agent_.socket(), base::monotonic_now() + seconds(10));
    ASSERT_TRUE(fd) << fd.error().message;
  }
  // None of them was somebody: the session is still there.
  const auto stopped = client.stop_server(server->id);
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(stopped->requests, fake_server_requests);
}

TEST_F(SessionTest, DrainsWhileAServerOfItsControllerRuns) {
  start();
  {
    Wires wires(agent_.socket());
    auto client = connect(wires);
    const auto server = client.start_server(server_job());
    ASSERT_TRUE(server) << server.error().message;
    ASSERT_TRUE(agent_.process().signal(SIGTERM));
    expect_alive(client);  // whose answer comes after the signal
    const auto stopped = client.stop_server(server->id);
    ASSERT_TRUE(stopped) << stopped.error().message;
    EXPECT_EQ(stopped->requests, fake_server_requests);
    // Until its controller leaves: nothing that was said is lost.
    expect_alive(client);
  }
  const auto ended = agent_.process().wait(seconds(5));
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(*ended, base::ExitStatus{});
}

TEST_F(SessionTest, EndsAtOnceWhenItIsTold) {
  start();
  Wires wires(agent_.socket());
  auto client = connect(wires);
  const auto id = client.send_run(client_job(fake_run_is_deaf, std::chrono::hours(1)));
  ASSERT_TRUE(id);
  const auto pid = client.await_worker_pid(*id);
  ASSERT_TRUE(pid) << pid.error().message;
  const auto worker = watch(*pid);
  ASSERT_TRUE(agent_.process().signal(SIGTERM));
  // Well within any grace period, though the worker is deaf.
  const auto ended = agent_.process().wait(seconds(5));
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(*ended, base::ExitStatus{});
  EXPECT_TRUE(wait_until_gone(worker));
  EXPECT_NE(::access(agent_.socket().c_str(), F_OK), 0);
}

// ---- a plan, from the agent's first instant -----------------------------------------------------

class PlanTest : public SessionTest {
 protected:
  // A server, and a run that ends by itself.
  PlanTest() {
    server_ = {plan_.add(CommandType::serve, server_job())};
    run_ = {plan_.add(CommandType::run, client_job(fake_run_ends))};
  }
  void start_by_plan(const std::vector<std::string>& options = {}) {
    std::vector<std::string> all{"--plan", to_text(plan_)};
    all.insert(all.end(), options.begin(), options.end());
    start(all);
  }

  AgentPlan plan_{.session = "the-plan"};
  JobId server_;
  JobId run_;
};

TEST_F(PlanTest, IsFollowedBeforeAnybodyComesAndTakenUpByItsController) {
  start_by_plan();
  Wires wires(agent_.socket());
  auto client = connect(wires, {.plan = plan_});
  const auto server = client.await_server(server_);
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(server->endpoints, server_job().listen);
  const auto run = client.await_run(run_);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->requests, fake_requests);
  // It goes on as any session does, over a stream that breaks, too.
  expect_alive(client);
  const auto stopped = client.stop_server(server_);
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(stopped->requests, fake_server_requests);
  EXPECT_EQ(agent_.jobs(), 3U) << "nothing was done twice";
}

TEST_F(PlanTest, WhatFailsOfItIsToldToItsController) {
  plan_ = {.session = "the-plan"};
  server_ = {plan_.add(CommandType::serve, server_job(fake_port_in_use))};
  start_by_plan();
  Wires wires(agent_.socket());
  auto client = connect(wires, {.plan = plan_});
  const auto server = client.await_server(server_);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, EADDRINUSE) << server.error().message;
}

TEST_F(PlanTest, AnyOtherControllerEndsIt) {
  start_by_plan();
  Wires wires(agent_.socket());
  auto other = connect(wires);
  expect_alive(other);
  EXPECT_FALSE(other.await_server(server_)) << "it is not its own";
  Wires late(agent_.socket());
  const auto client = connect_by(late, {.plan = plan_});
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, ErrorKind::peer_lost) << client.error().message;
}

TEST_F(PlanTest, AnAgentWithoutItSaysSo) {
  start();
  Wires wires(agent_.socket());
  const auto client = connect_by(wires, {.plan = plan_});
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, ErrorKind::peer_lost) << client.error().message;
}

TEST_F(PlanTest, StopsWhereNobodySaysAnything) {
  start_by_plan({"--idle-after", "50ms"});
  Wires wires(agent_.socket());
  auto client = connect(wires, {.plan = plan_});
  const auto ended = client.await_server_result(server_);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::timed_out) << ended.error().message;
}

// ---- attach, as exec runs it --------------------------------------------------------------------

class AttachTest : public SessionTest {
 protected:
  base::Result<base::Process> attach(const std::vector<std::string>& options = {}) {
    std::vector<std::string> argv{executable, "attach", "--socket", agent_.socket()};
    argv.insert(argv.end(), options.begin(), options.end());
    return base::Process::spawn({.argv = std::move(argv),
                                 .in = base::Stdio::pipe(),
                                 .out = base::Stdio::pipe(),
                                 .err = base::Stdio::pipe()});
  }
  // How it ended, and what it said of it.
  static std::pair<base::ExitStatus, std::string> end_of(base::Process& process) {
    const auto status = process.wait(seconds(10));
    EXPECT_TRUE(status) << status.error().message;
    std::array<char, 4096> words{};
    const ssize_t count = ::read(process.err.get(), words.data(), words.size());
    return {status.value_or(base::ExitStatus{.code = -1}),
            std::string(words.data(), count > 0 ? static_cast<std::size_t>(count) : 0)};
  }
};

TEST_F(AttachTest, CarriesAConversationFromBeforeTheAgentListens) {
  auto process = attach();
  ASSERT_TRUE(process) << process.error().message;
  start();
  {
    auto client =
        AgentClient::connect(std::move(process->in), std::move(process->out), "agent client-0");
    ASSERT_TRUE(client) << client.error().message;
    converse(*client);
  }
  EXPECT_EQ(end_of(*process), std::pair(base::ExitStatus{}, std::string()));
}

TEST_F(AttachTest, EndsWhenTheAgentOrAnotherControllerEndsIt) {
  start();
  auto first = attach();
  ASSERT_TRUE(first) << first.error().message;
  // Its greeting shows that it is connected.
  std::array<char, 1> byte{};
  ASSERT_EQ(::read(first->out.get(), byte.data(), 1), 1);
  auto second = attach();
  ASSERT_TRUE(second) << second.error().message;
  const auto [status, words] = end_of(*first);
  EXPECT_EQ(status, base::ExitStatus{.code = 1});
  EXPECT_THAT(words, HasSubstr("another controller attached"));
  ASSERT_EQ(::read(second->out.get(), byte.data(), 1), 1);
  ASSERT_TRUE(agent_.process().signal(SIGTERM));
  EXPECT_EQ(end_of(*second).first, base::ExitStatus{.code = 1});
}

TEST_F(AttachTest, SaysThatNobodyListens) {
  auto process = attach({"--wait", "20ms"});
  ASSERT_TRUE(process) << process.error().message;
  const auto [status, words] = end_of(*process);
  EXPECT_EQ(status, base::ExitStatus{.code = 1});
  EXPECT_THAT(words, HasSubstr("stackbench-agent attach: "));
  EXPECT_THAT(words, HasSubstr("no agent listens there"));
}

}  // namespace
}  // namespace bench::testing
