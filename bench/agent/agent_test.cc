// A real agent process with fake traffic (testing/fake_traffic.h): what it must survive, and what
// must not survive it.
#include "bench/agent/agent.h"

#include <array>
#include <optional>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pidfd.h"
#include "bench/agent/line.h"
#include "bench/agent/testing/agent_process.h"
#include "bench/agent/testing/fake_traffic.h"

namespace bench::testing {
namespace {

using base::ErrorKind;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string executable = FAKE_AGENT;

// Readable when the process is gone; empty when it is gone already.
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

class AgentTest : public ::testing::Test {
 protected:
  void start(const std::vector<std::string>& arguments = {}, ConnectOptions options = {}) {
    auto started = start_agent(executable, arguments, std::move(options));
    ASSERT_TRUE(started) << started.error().message;
    agent_.emplace(*std::move(started));
  }
  AgentClient& client() { return agent_->client; }
  // The agent still takes a job and does it.
  void expect_alive() {
    const auto result = client().run(client_job(fake_run_ends));
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->requests, fake_requests);
  }

  std::optional<Agent> agent_;
};

TEST_F(AgentTest, GreetsAndDoesEveryJob) {
  start();
  EXPECT_EQ(client().hello().pid, agent_->process->pid());
  EXPECT_THAT(client().hello().capabilities,
              ::testing::ElementsAre("serve", "run", "observe", "watch_drops", "reach", "listen",
                                     "send_flows", "receive_flows", "hold", "capture", "tls_probe",
                                     "knock"));

  const auto server = client().start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(server->endpoints, server_job().listen);
  EXPECT_GT(server->worker_pid, 0);
  const auto observer = client().start_observer(
      {.interface = "lo", .service = {}, .backends = {}, .protocol = base::Protocol::TCP});
  ASSERT_TRUE(observer) << observer.error().message;
  expect_alive();
  EXPECT_EQ(client().stop_observer(observer->id).value().to_service, 2U);

  const auto there = base::Endpoint::parse("10.0.0.1:80").value();
  const auto drops = client().start_drops_watch({.endpoints = {there}});
  ASSERT_TRUE(drops) << drops.error().message;
  const auto found = client().stop_drops_watch(drops->id);
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->drops.size(), 1U);
  EXPECT_EQ(found->drops.front().to, there);
  const auto worker = watch(server->worker_pid);
  EXPECT_EQ(client().stop_server(server->id).value().requests, fake_server_requests);
  // A result means that its worker is gone, and its ports are free.
  EXPECT_TRUE(wait_until_gone(worker));
  EXPECT_EQ(client().stop_server(server->id).error().kind, ErrorKind::input);
}

TEST_F(AgentTest, RefusesAJobBeyondItsBoundsBeforeAWorkerIsSpentOnIt) {
  start();
  const auto here = base::Endpoint::parse("127.0.0.1:7001").value();
  ReachJob sweep{.targets = {{.endpoint = here, .server_id = 1}}};
  sweep.timeout = std::chrono::minutes(1);
  EXPECT_THAT(client().reach(sweep).error().message, HasSubstr("job.timeout: "));
  EXPECT_THAT(client().start_listener({.server_id = 1}).error().message, HasSubstr("job.ports: "));
  FlowSendJob flows{.flows = {{.id = 1, .to = here}}};
  flows.rate.per_second = 8'001;
  EXPECT_THAT(client().start_flow_sender(flows).error().message, HasSubstr("job.rate: "));
  EXPECT_THAT(client().start_flow_receiver({}).error().message, HasSubstr("job.flows: "));
  EXPECT_THAT(client().start_hold({}).error().message, HasSubstr("job.connections: "));
  // Within them the fake agent has nothing that would do it.
  const auto listener =
      client().start_listener({.server_id = 1, .ports = {{7001, base::Protocol::UDP}}});
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().kind, ErrorKind::missing);
  expect_alive();
}

TEST_F(AgentTest, CarriesAWorkersErrorsToTheController) {
  start();
  const auto server = client().start_server(server_job(fake_port_in_use));
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, EADDRINUSE);
  EXPECT_EQ(server.error().message,
            "agent client-0 in environment test: tcp_rr server: bind 127.0.0.1:81: Address already "
            "in use");
  const auto run = client().run(client_job(fake_run_fails));
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().kind, ErrorKind::workload);
  EXPECT_THAT(run.error().message, HasSubstr("tcp_rr to 127.0.0.1:7001: connection refused"));
  const auto observer =
      client().start_observer({.interface = "eth7", .service = {}, .backends = {}});
  ASSERT_FALSE(observer);
  EXPECT_THAT(observer.error().message, HasSubstr("eth7: no such interface"));
  expect_alive();
}

TEST_F(AgentTest, IsNotConfusedByAStrayPrint) {
  start();
  const auto result = client().run(client_job(fake_run_prints));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->requests, fake_requests);
  expect_alive();
}

TEST_F(AgentTest, LosesOneSampleToACrashAndLivesOn) {
  start();
  const auto server = client().start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  const auto run = client().run(client_job(fake_run_crashes));
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().kind, ErrorKind::workload);
  EXPECT_THAT(run.error().message,
              AllOf(HasSubstr("worker ended by signal 11 (Segmentation fault)"),
                    HasSubstr("about to crash")));
  expect_alive();
  EXPECT_TRUE(client().stop_server(server->id));
}

TEST_F(AgentTest, KillsAJobOnRequest) {
  start();
  const auto server = client().start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  const auto worker = watch(server->worker_pid);
  const auto killed = client().kill(server->id);
  ASSERT_TRUE(killed) << killed.error().message;
  // It is gone when that returns, as is every word of it.
  EXPECT_TRUE(wait_until_gone(worker));
  EXPECT_EQ(client().stop_server(server->id).error().kind, ErrorKind::input);
  EXPECT_EQ(client().kill(server->id).error().kind, ErrorKind::input);
  expect_alive();
}

TEST_F(AgentTest, LosesOneSampleToAKilledWorkerAndLivesOn) {
  start();
  const auto id = client().send_run(client_job(fake_run_waits));
  ASSERT_TRUE(id);
  const auto pid = client().await_worker_pid(*id);
  ASSERT_TRUE(pid) << pid.error().message;
  ASSERT_EQ(::kill(*pid, SIGKILL), 0);
  EXPECT_THAT(client().await_run(*id).error().message, HasSubstr("worker ended by signal 9"));
  expect_alive();
}

TEST_F(AgentTest, RefusesWhatAWorkerCannotMeanAndLivesOn) {
  start();
  EXPECT_THAT(client().run(client_job(fake_run_garbles)).error().message,
              HasSubstr("wrote no message: not JSON"));
  EXPECT_THAT(client().run(client_job(fake_run_is_too_long)).error().message,
              HasSubstr("bytes is too long"));
  expect_alive();
}

TEST_F(AgentTest, StopsARunInTheMiddle) {
  start();
  const auto id = client().send_run(client_job(fake_run_waits, std::chrono::hours(1)));
  ASSERT_TRUE(id);
  ASSERT_TRUE(client().await_worker_pid(*id));
  ASSERT_TRUE(client().send_stop(*id));
  EXPECT_EQ(client().await_run(*id).error().kind, ErrorKind::interrupted);
  expect_alive();
}

TEST_F(AgentTest, KillsAWorkerThatDoesNotStop) {
  start({"--stop-grace", "50ms"});
  const auto id = client().send_run(client_job(fake_run_is_deaf, std::chrono::hours(1)));
  ASSERT_TRUE(id);
  const auto pid = client().await_worker_pid(*id);
  ASSERT_TRUE(pid) << pid.error().message;
  const auto worker = watch(*pid);
  ASSERT_TRUE(client().send_stop(*id));
  const auto result = client().await_run(*id);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::timed_out);
  EXPECT_THAT(result.error().message, HasSubstr("of being stopped and was killed"));
  EXPECT_TRUE(wait_until_gone(worker));
  expect_alive();
}

TEST_F(AgentTest, StopsTrafficWhenTheControllerFallsSilentAndIdles) {
  start({"--idle-after", "100ms"}, {.heartbeat = std::chrono::hours(1)});
  const auto server = client().start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  const auto worker = watch(server->worker_pid);
  EXPECT_TRUE(wait_until_gone(worker));
  const auto result = client().await_server_result(server->id);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::timed_out);
  EXPECT_THAT(result.error().message, HasSubstr("the controller said nothing for 100 ms"));
  expect_alive();
}

TEST_F(AgentTest, KeepsTrafficGoingForAControllerThatBeats) {
  start({"--idle-after", "300ms"}, {.heartbeat = milliseconds(20)});
  // Three times as long as the agent would wait for a silent controller.
  const auto result = client().run(client_job(fake_run_ends, milliseconds(900)));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->requests, fake_requests);
}

TEST_F(AgentTest, IsMissedWithItsSignalWhenItDiesDuringARun) {
  start();
  const auto id = client().send_run(client_job(fake_run_waits));
  ASSERT_TRUE(id);
  const auto pid = client().await_worker_pid(*id);
  ASSERT_TRUE(pid) << pid.error().message;
  const auto worker = watch(*pid);
  ASSERT_EQ(::kill(agent_->process->pid(), SIGKILL), 0);
  const auto result = client().await_run(*id);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::peer_lost);
  EXPECT_THAT(result.error().message,
              HasSubstr("agent client-0 in environment test ended: signal 9 (Killed)"));
  EXPECT_TRUE(wait_until_gone(worker));
}

TEST_F(AgentTest, EndsWithItsStdinAndTakesItsWorkersAlong) {
  start();
  const auto server = client().start_server(server_job());
  ASSERT_TRUE(server) << server.error().message;
  const auto worker = watch(server->worker_pid);
  const auto process = agent_->process;
  agent_.reset();
  EXPECT_EQ(process->wait(seconds(10)).value(), base::ExitStatus{});
  EXPECT_TRUE(wait_until_gone(worker));
}

TEST(AgentOrphans, AreNotLeftByAControllerThatIsKilled) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const base::UniqueFd read(ends[0]);
  base::UniqueFd write(ends[1]);
  const pid_t controller = ::fork();
  ASSERT_GE(controller, 0);
  if (controller == 0) {
    // Without die_with_parent: what must end the agent is the end of its stdin.
    std::array<pid_t, 2> pids{-1, -1};
    auto process = base::Process::spawn({.argv = {executable},
                                         .in = base::Stdio::pipe(),
                                         .out = base::Stdio::pipe(),
                                         .die_with_parent = false});
    if (process) {
      pids[0] = process->pid();
      auto client =
          AgentClient::connect(std::move(process->in), std::move(process->out), "agent orphan-0");
      const auto server =
          client ? client->start_server(server_job()) : base::fail(ErrorKind::system, "no client");
      if (server) pids[1] = server->worker_pid;
      if (::write(write.get(), pids.data(), sizeof(pids)) == sizeof(pids)) ::pause();
    }
    ::_exit(1);
  }
  write.reset();
  std::array<pid_t, 2> pids{-1, -1};
  ASSERT_EQ(::read(read.get(), pids.data(), sizeof(pids)), static_cast<ssize_t>(sizeof(pids)));
  ASSERT_GT(pids[0], 0);
  ASSERT_GT(pids[1], 0);
  const auto agent = watch(pids[0]);
  const auto worker = watch(pids[1]);
  ASSERT_TRUE(agent && worker);
  ASSERT_EQ(::kill(controller, SIGKILL), 0);
  ASSERT_EQ(::waitpid(controller, nullptr, 0), controller);
  EXPECT_TRUE(wait_until_gone(agent));
  EXPECT_TRUE(wait_until_gone(worker));
}

TEST(SeveralAgents, AreStartedAtOnceFromOneThread) {
  std::vector<Agent> agents;
  std::vector<JobId> ids;
  for (int i = 0; i < 3; ++i) {
    auto agent = start_agent(executable);
    ASSERT_TRUE(agent) << agent.error().message;
    agents.push_back(*std::move(agent));
  }
  for (auto& agent : agents) {
    const auto id = agent.client.send_server(server_job());
    ASSERT_TRUE(id) << id.error().message;
    ids.push_back(*id);
  }
  for (std::size_t i = agents.size(); i-- > 0;) {
    EXPECT_TRUE(agents[i].client.await_server(ids[i]));
    EXPECT_TRUE(agents[i].client.send_stop(ids[i]));
  }
  for (std::size_t i = 0; i < agents.size(); ++i) {
    EXPECT_EQ(agents[i].client.await_server_result(ids[i]).value().requests, fake_server_requests);
  }
}

// What the agent answers to lines as they are.
class AgentLines : public ::testing::Test {
 protected:
  void SetUp() override {
    auto process = start_agent_process(executable);
    ASSERT_TRUE(process) << process.error().message;
    process_.emplace(*std::move(process));
    ASSERT_EQ(next().type, MessageType::hello);
  }
  void say(std::string_view text) {
    const auto written =
        write_whole(process_->in.get(), text, base::monotonic_now() + seconds(10), -1);
    ASSERT_TRUE(written) << written.error().message;
  }
  Message next() {
    while (true) {
      if (const auto line = lines_.next()) {
        auto message = parse_message(line->text);
        EXPECT_TRUE(message) << line->text;
        return message.value_or(Message{});
      }
      pollfd watched{.fd = process_->out.get(), .events = POLLIN, .revents = 0};
      const bool more = ::poll(&watched, 1, 10'000) == 1 &&
                        read_into(process_->out.get(), lines_).value_or(false);
      EXPECT_TRUE(more) << "the agent is silent";
      if (!more) return {};
    }
  }
  void expect_refused(std::string_view line, std::optional<std::uint64_t> id,
                      const std::string& words) {
    say(line);
    const Message message = next();
    ASSERT_EQ(message.type, MessageType::error) << line.substr(0, 100);
    EXPECT_EQ(message.id, id) << line.substr(0, 100);
    EXPECT_EQ(message.error->error.kind, ErrorKind::input);
    EXPECT_THAT(message.error->error.message, HasSubstr(words));
  }
  void expect_alive() {
    say("{\"type\":\"ping\",\"id\":1000}\n");
    const Message pong = next();
    EXPECT_EQ(pong.type, MessageType::pong);
    EXPECT_EQ(pong.id, 1000U);
    EXPECT_GT(pong.monotonic_ns, 0);
  }

  std::optional<base::Process> process_;
  LineReader lines_{longest_message};
};

TEST_F(AgentLines, AnswersEveryLineItCannotObeyWithOneErrorAndLives) {
  expect_refused("what?\n", std::nullopt, "not JSON");
  expect_refused("\n", std::nullopt, "not JSON");
  expect_refused("{\"type\":\"dance\",\"id\":1}\n", 1, "expected one of attach, serve, run");
  expect_refused("{\"type\":\"run\",\"id\":2,\"job\":{}}\n", 2, "job.workload: missing");
  expect_refused("{\"type\":\"serve\",\"id\":3,\"job\":{\"kind\":\"tcp_rr\",\"listen\":[]}}\n", 3,
                 "at least one endpoint");
  expect_refused("{\"type\":\"observe\",\"id\":4,\"job\":5}\n", 4, "job: expected an object");
  expect_refused("{\"type\":\"stop\",\"id\":5,\"job_id\":99}\n", 5, "no job 99 is running");
  expect_alive();
}

TEST_F(AgentLines, RefusesALineThatIsTooLongOnceAndLives) {
  expect_refused(std::string(longest_command + 1, 'x'), std::nullopt, "a line longer than");
  say(std::string(100'000, 'y') + "\n");
  expect_alive();
}

TEST_F(AgentLines, RefusesAnIdThatIsInUse) {
  const std::string serve =
      to_line(Command{.type = CommandType::serve, .id = 1, .job = base::to_json(server_job())});
  say(serve);
  EXPECT_EQ(next().type, MessageType::started);
  EXPECT_EQ(next().type, MessageType::ready);
  expect_refused(serve, 1, "job 1 is running already");
  expect_alive();
}

TEST_F(AgentLines, TakesManyCommandsAtOnceAndALineInPieces) {
  std::string lines;
  for (int id = 1; id <= 500; ++id) lines += fmt::format("{{\"type\":\"ping\",\"id\":{}}}\n", id);
  say(lines);
  for (std::uint64_t id = 1; id <= 500; ++id) ASSERT_EQ(next().id, id);
  say("{\"type\":\"pi");
  say("ng\",\"id\":501}\n");
  EXPECT_EQ(next().id, 501U);
}

TEST_F(AgentLines, EndsWhenTheControllerStopsListening) {
  process_->out.reset();
  say("{\"type\":\"ping\",\"id\":1}\n");
  EXPECT_EQ(process_->wait(seconds(10)).value(), base::ExitStatus{.code = 1});
}

TEST(AgentCommandLine, AnswersAndRefuses) {
  const auto version = base::run({executable, "--version"});
  ASSERT_TRUE(version) << version.error().message;
  EXPECT_TRUE(version->status.success());
  EXPECT_EQ(version->out,
            fmt::format("stackbench-agent {} (protocol {})\n", STACKBENCH_VERSION, agent_protocol));
  const auto help = base::run({executable, "--help"});
  ASSERT_TRUE(help) << help.error().message;
  EXPECT_TRUE(help->status.success());
  EXPECT_THAT(help->out, AllOf(HasSubstr("--idle-after"), ::testing::Not(HasSubstr("worker"))));
  for (const std::vector<std::string>& argv :
       {std::vector<std::string>{executable, "--no-such-option"},
        {executable, "--idle-after", "soon"},
        {executable, "surplus"}}) {
    const auto refused = base::run(argv);
    ASSERT_TRUE(refused) << refused.error().message;
    EXPECT_EQ(refused->status, base::ExitStatus{.code = 2});
    EXPECT_EQ(refused->out, "");
    EXPECT_NE(refused->err, "");
  }
}

}  // namespace
}  // namespace bench::testing
