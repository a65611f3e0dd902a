// The controller's end against a peer whose every line the test writes itself.
#include "bench/agent/client.h"

#include <array>
#include <optional>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/agent/line.h"

namespace bench {
namespace {

using base::ErrorKind;
using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

ServerJob server_job() { return {.listen = {base::Endpoint::parse("127.0.0.1:7001").value()}}; }
ClientJob client_job() {
  return {.workload = {}, .servers = {base::Endpoint::parse("127.0.0.1:7001").value()}};
}

// The peer's ends of the two pipes, and the client's until it takes them.
struct Peer {
  Peer() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    commands.reset(ends[0]);
    to_agent.reset(ends[1]);
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    from_agent.reset(ends[0]);
    answers.reset(ends[1]);
  }
  void say(std::string_view text) const {
    EXPECT_EQ(::write(answers.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void say(const Message& message) const { say(to_line(message)); }
  void greet() const { say(Message{.type = MessageType::hello, .hello = own_hello({"run"})}); }
  // The next command the client wrote, heartbeats left out.
  Command next_command() {
    while (true) {
      while (const auto line = reader.next()) {
        auto command = parse_command(line->text);
        EXPECT_TRUE(command) << line->text;
        if (!command) return {};
        if (command->type != CommandType::heartbeat) return *command;
      }
      const auto more = read_into(commands.get(), reader);
      EXPECT_TRUE(more && *more);
      if (!more || !*more) return {};
    }
  }
  // Greets, and gives the client's ends away.
  base::Result<AgentClient> connect(ConnectOptions options = {}) {
    greet();
    return AgentClient::connect(std::move(to_agent), std::move(from_agent),
                                "agent client-0 in environment iptables", std::move(options));
  }

  base::UniqueFd commands, to_agent, from_agent, answers;
  LineReader reader{longest_command};
};

TEST(AgentClient, RefusesAnAgentOfAnotherVersionAndNamesBoth) {
  for (const bool other_protocol : {false, true}) {
    Peer peer;
    Hello hello = own_hello({});
    if (other_protocol) {
      hello.protocol = 7;
    } else {
      hello.version = "9.9.9";
    }
    peer.say(Message{.type = MessageType::hello, .hello = hello});
    const auto client = AgentClient::connect(std::move(peer.to_agent), std::move(peer.from_agent),
                                             "agent client-0 in environment iptables");
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().kind, ErrorKind::missing);
    EXPECT_THAT(client.error().message,
                AllOf(HasSubstr("agent client-0 in environment iptables"),
                      HasSubstr(other_protocol ? "protocol 7" : "stackbench-agent 9.9.9"),
                      HasSubstr("stackbench " STACKBENCH_VERSION)));
    EXPECT_THAT(client.error().mend, HasSubstr(STACKBENCH_VERSION));
  }
}

TEST(AgentClient, SendsNoJobThatAnOlderAgentDoesNotHave) {
  Peer peer;
  auto client = peer.connect();  // which has "run" alone
  ASSERT_TRUE(client) << client.error().message;
  const auto here = base::Endpoint::parse("127.0.0.1:7001").value();
  const auto sweep = client->send_reach({.targets = {{.endpoint = here, .server_id = 1}}});
  ASSERT_FALSE(sweep);
  EXPECT_EQ(sweep.error().kind, ErrorKind::missing);
  EXPECT_THAT(sweep.error().message, AllOf(HasSubstr("agent client-0"), HasSubstr("job reach")));
  ASSERT_TRUE(client->send_run(client_job()));
  EXPECT_EQ(peer.next_command().type, CommandType::run);
}

TEST(AgentClient, RefusesAPeerThatIsNoAgent) {
  for (const char* line : {"bash: stackbench-agent: not found\n", "{}\n",
                           "{\"type\":\"pong\",\"id\":1,\"monotonic_ns\":1}\n"}) {
    Peer peer;
    peer.say(line);
    const auto client =
        AgentClient::connect(std::move(peer.to_agent), std::move(peer.from_agent), "agent web-0");
    ASSERT_FALSE(client) << line;
    EXPECT_EQ(client.error().kind, ErrorKind::input);
    EXPECT_THAT(client.error().message, HasSubstr("agent web-0 did not greet"));
  }
}

TEST(AgentClient, DoesNotWaitForeverForAGreeting) {
  Peer peer;
  const auto client = AgentClient::connect(std::move(peer.to_agent), std::move(peer.from_agent),
                                           "agent web-0", {.timeout = milliseconds(20)});
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, ErrorKind::timed_out);
}

TEST(AgentClient, SaysHowThePeerEndedAndItsLastWordsOnEveryFurtherCall) {
  Peer peer;
  base::UniqueFd words(::memfd_create("stderr", MFD_CLOEXEC));
  ASSERT_EQ(::write(words.get(), "no memory left\n", 15), 15);
  auto client = peer.connect({.stderr_file = std::move(words),
                              .how_it_ended = [] { return std::string("signal 9 (Killed)"); }});
  ASSERT_TRUE(client) << client.error().message;
  const auto id = client->send_run(client_job());
  ASSERT_TRUE(id);
  peer.answers.reset();
  const auto result = client->await_run(*id);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::peer_lost);
  EXPECT_EQ(result.error().message,
            "agent client-0 in environment iptables ended: signal 9 (Killed); its last words: no "
            "memory left");
  EXPECT_EQ(client->run(client_job()).error(), result.error());
  EXPECT_EQ(client->start_server(server_job()).error(), result.error());
}

TEST(AgentClient, NoticesAPeerThatDoesNotReadAnyMore) {
  Peer peer;
  auto client = peer.connect();
  ASSERT_TRUE(client) << client.error().message;
  peer.commands.reset();
  EXPECT_EQ(client->send_run(client_job()).error().kind, ErrorKind::peer_lost);
}

TEST(AgentClient, AwaitsSeveralJobsInAnyOrder) {
  Peer peer;
  auto client = peer.connect();
  ASSERT_TRUE(client) << client.error().message;
  const auto first = client->send_server(server_job());
  const auto second = client->send_server(server_job());
  ASSERT_TRUE(first && second);
  ASSERT_EQ(peer.next_command().id, first->value);
  ASSERT_EQ(peer.next_command().id, second->value);
  const auto one = base::Endpoint::parse("127.0.0.1:1").value();
  const auto two = base::Endpoint::parse("127.0.0.1:2").value();
  peer.say(Message{.type = MessageType::ready, .id = second->value, .endpoints = {two}});
  peer.say(Message{.type = MessageType::started, .id = first->value, .worker_pid = 77});
  peer.say(Message{.type = MessageType::ready, .id = first->value, .endpoints = {one}});
  const auto running = client->await_server(*first);
  ASSERT_TRUE(running) << running.error().message;
  EXPECT_EQ(running->worker_pid, 77);
  EXPECT_EQ(running->endpoints, std::vector{one});
  EXPECT_EQ(client->await_server(*second).value().endpoints, std::vector{two});
}

TEST(AgentClient, IgnoresAnswersThatNobodyAwaits) {
  Peer peer;
  auto client = peer.connect();
  ASSERT_TRUE(client) << client.error().message;
  const auto id = client->send_run(client_job());
  ASSERT_TRUE(id);
  peer.say(Message{.type = MessageType::result, .id = 999, .result = base::Json::object()});
  ClientResult sent;
  sent.requests = 5;
  peer.say(Message{.type = MessageType::result, .id = id->value, .result = base::to_json(sent)});
  EXPECT_EQ(client->await_run(*id).value().requests, 5U);
  // It is forgotten now, and says so instead of waiting.
  EXPECT_EQ(client->await_run(*id).error().kind, ErrorKind::input);
}

TEST(AgentClient, GivesUpOnAPeerThatBreaksTheProtocol) {
  for (const char* line :
       {"hello?\n", "{\"type\":\"result\",\"monotonic_ns\":1,\"result\":{}}\n",
        "{\"type\":\"result\",\"id\":1,\"monotonic_ns\":1,\"result\":{\"kind\":\"chat\"}}\n"}) {
    Peer peer;
    auto client = peer.connect();
    ASSERT_TRUE(client) << client.error().message;
    const auto id = client->send_run(client_job());
    ASSERT_TRUE(id);
    peer.say(line);
    const auto result = client->await_run(*id);
    ASSERT_FALSE(result) << line;
    EXPECT_EQ(result.error().kind, ErrorKind::input);
    EXPECT_THAT(result.error().message, HasSubstr("broke the protocol")) << line;
    EXPECT_EQ(client->run(client_job()).error(), result.error());
  }
}

TEST(AgentClient, GivesUpOnALineWithoutEnd) {
  Peer peer;
  auto client = peer.connect();
  ASSERT_TRUE(client) << client.error().message;
  const auto id = client->send_run(client_job());
  ASSERT_TRUE(id);
  std::jthread flood([fd = std::move(peer.answers)] {
    const std::string text(longest_message + 1, 'x');
    EXPECT_TRUE(write_whole(fd.get(), text, base::monotonic_now() + std::chrono::seconds(10), -1));
  });
  EXPECT_THAT(client->await_run(*id).error().message, HasSubstr("a line that is too long"));
}

TEST(AgentClient, RefusesAJobThatDoesNotFitIntoALine) {
  Peer peer;
  auto client = peer.connect();
  ASSERT_TRUE(client) << client.error().message;
  const auto result = client->send_observer(
      {.interface = "lo",
       .service = std::vector<base::Endpoint>(100'000, server_job().listen.front()),
       .backends = {}});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("too long"));
  EXPECT_TRUE(client->send_run(client_job()));
}

TEST(AgentClient, EndsAWaitWhenTheUserInterrupts) {
  std::thread([] {
    const auto interrupt = base::Interrupt::install();
    ASSERT_TRUE(interrupt) << interrupt.error().message;
    Peer peer;
    auto client = peer.connect({.interrupt = &*interrupt});
    ASSERT_TRUE(client) << client.error().message;
    const auto id = client->send_run(client_job());
    ASSERT_TRUE(id);
    ASSERT_EQ(::pthread_kill(::pthread_self(), SIGINT), 0);
    EXPECT_EQ(client->await_run(*id).error().kind, ErrorKind::interrupted);
    // The same Ctrl-C may have ended the agent: the user's wish stays the reason.
    peer.commands.reset();
    peer.answers.reset();
    EXPECT_EQ(client->send_run(client_job()).error().kind, ErrorKind::interrupted);
  }).join();
}

TEST(AgentClient, TellsTheAgentThatItIsThere) {
  Peer peer;
  auto client = peer.connect({.heartbeat = milliseconds(1)});
  ASSERT_TRUE(client) << client.error().message;
  LineReader lines(longest_command);
  std::optional<Line> beat;
  while (!(beat = lines.next())) ASSERT_TRUE(read_into(peer.commands.get(), lines).value_or(false));
  EXPECT_EQ(beat->text, "{\"type\":\"heartbeat\"}");
}

TEST(AgentClient, KnowsThatAnAgentOfTheSameBootSharesItsClock) {
  Peer peer;
  auto client = peer.connect();
  ASSERT_TRUE(client) << client.error().message;
  const auto offset = client->measure_clock();
  ASSERT_TRUE(offset) << offset.error().message;
  EXPECT_EQ(offset->offset, base::Duration::zero());
  EXPECT_EQ(offset->uncertainty, base::Duration::zero());
}

TEST(AgentClient, MeasuresTheClockOfAnotherMachine) {
  Peer peer;
  Hello hello = own_hello({});
  hello.boot_id = "another";
  peer.say(Message{.type = MessageType::hello, .hello = hello});
  auto client =
      AgentClient::connect(std::move(peer.to_agent), std::move(peer.from_agent), "agent far-0");
  ASSERT_TRUE(client) << client.error().message;
  constexpr base::Duration ahead = std::chrono::hours(1);
  std::jthread agent([&] {
    for (int round = 0; round < 3; ++round) {
      const auto ping = peer.next_command();
      peer.say(fmt::format("{{\"type\":\"pong\",\"id\":{},\"monotonic_ns\":{}}}\n", ping.id,
                           (base::monotonic_now() + ahead).ns));
    }
  });
  const auto offset = client->measure_clock(3);
  ASSERT_TRUE(offset) << offset.error().message;
  EXPECT_GT(offset->uncertainty, base::Duration::zero());
  EXPECT_GE(offset->offset + offset->uncertainty, ahead);
  EXPECT_LE(offset->offset - offset->uncertainty, ahead);
}

// ---- streams that can be had again --------------------------------------------------------------

constexpr const char* instance = "a-certain-process";

// A peer that greets as a certain process, and answers the attach that follows as one that went
// well. The answer is there before the question: the client's first attach has id 1.
void greet_and_attach(const Peer& peer, std::uint64_t attach_id,
                      std::vector<std::uint64_t> unknown = {}) {
  Hello hello = own_hello({});
  hello.instance = instance;
  peer.say(Message{.type = MessageType::hello, .hello = hello});
  peer.say(Message{.type = MessageType::attached, .id = attach_id, .unknown = std::move(unknown)});
}
AgentStream stream_to(Peer& peer) {
  return {.to_agent = std::move(peer.to_agent), .from_agent = std::move(peer.from_agent)};
}

class ResumingClient : public testing::Test {
 protected:
  AgentClient connect(ConnectOptions options = {}) {
    greet_and_attach(first_, 1);
    if (!options.reattach) options.reattach = [this] { return stream_to(second_); };
    auto client = AgentClient::connect(std::move(first_.to_agent), std::move(first_.from_agent),
                                       "agent client-0", std::move(options));
    if (!client) throw std::runtime_error(client.error().message);
    EXPECT_EQ(first_.next_command().type, CommandType::attach);
    return *std::move(client);
  }
  static Message result(std::uint64_t id, std::uint64_t requests) {
    ClientResult sent;
    sent.requests = requests;
    return {.type = MessageType::result, .id = id, .result = base::to_json(sent)};
  }

  Peer first_, second_;
};

TEST_F(ResumingClient, SaysWhatIsOutstandingAndSendsAgainWhatNeverArrived) {
  auto client = connect();
  const auto ended = client.send_run(client_job());
  const auto running = client.send_run(client_job());
  const auto lost = client.send_run(client_job());
  ASSERT_TRUE(ended && running && lost);
  // The first stream carries one result whole and half of another.
  first_.say(result(ended->value, 1));
  first_.say(to_line(result(running->value, 2)).substr(0, 40));
  first_.answers.reset();
  const std::uint64_t attach_id = lost->value + 1;
  greet_and_attach(second_, attach_id, {lost->value});
  second_.say(result(running->value, 2));
  second_.say(result(lost->value, 3));
  EXPECT_EQ(client.await_run(*running).value().requests, 2U);
  EXPECT_EQ(client.await_run(*ended).value().requests, 1U);
  EXPECT_EQ(client.await_run(*lost).value().requests, 3U);

  const auto attach = second_.next_command();
  EXPECT_EQ(attach.type, CommandType::attach);
  EXPECT_EQ(attach.id, attach_id);
  EXPECT_EQ(attach.outstanding, std::optional(std::vector{running->value, lost->value}));
  const auto again = second_.next_command();
  EXPECT_EQ(again.type, CommandType::run);
  EXPECT_EQ(again.id, lost->value);
  // And goes on with what it has received.
  ASSERT_TRUE(client.send_run(client_job()));
  EXPECT_EQ(second_.next_command().received, (std::vector{running->value, lost->value}));
}

TEST_F(ResumingClient, StopsAgainWhatItStoppedOnTheStreamThatBroke) {
  auto client = connect();
  const auto id = client.send_server(server_job());
  ASSERT_TRUE(id && client.send_stop(*id));
  first_.answers.reset();
  greet_and_attach(second_, 4);
  std::jthread agent([&] {
    EXPECT_EQ(second_.next_command().type, CommandType::attach);
    const auto stop = second_.next_command();
    EXPECT_EQ(stop.type, CommandType::stop);
    EXPECT_EQ(stop.job_id, id->value);
    second_.say(Message{.type = MessageType::result,
                        .id = id->value,
                        .result = base::to_json(ServerResult{.requests = 9})});
  });
  EXPECT_EQ(client.await_server_result(*id).value().requests, 9U);
}

TEST_F(ResumingClient, GivesUpOnAnAgentThatIsGone) {
  auto client = connect({.reattach = []() -> base::Result<AgentStream> {
    return base::fail(ErrorKind::peer_lost, "the pod was deleted");
  }});
  first_.answers.reset();
  const auto lost = client.run(client_job());
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, ErrorKind::peer_lost);
  EXPECT_EQ(lost.error().message,
            "agent client-0 was lost, and could not be had again: the pod was deleted");
  EXPECT_EQ(client.run(client_job()).error(), lost.error());
}

TEST_F(ResumingClient, GivesUpAfterADeadlineOnOneThatCannotBeReached) {
  int tries = 0;
  auto client = connect({.reattach = [&]() -> base::Result<AgentStream> {
                           ++tries;
                           return base::fail(ErrorKind::timed_out, "the API server is silent");
                         },
                         .resume_within = milliseconds(1)});
  first_.answers.reset();
  const auto lost = client.run(client_job());
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, ErrorKind::peer_lost);
  EXPECT_THAT(lost.error().message,
              HasSubstr("could not be had again in time: the API server is silent"));
  EXPECT_GE(tries, 1);
}

TEST_F(ResumingClient, TriesAgainWhatMayPass) {
  int tries = 0;
  auto client = connect({.reattach = [&]() -> base::Result<AgentStream> {
    if (++tries < 2) return base::fail(ErrorKind::timed_out, "not yet");
    return stream_to(second_);
  }});
  const auto id = client.send_run(client_job());
  ASSERT_TRUE(id);
  first_.answers.reset();
  greet_and_attach(second_, 3);
  second_.say(result(id->value, 5));
  const auto run = client.await_run(*id);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->requests, 5U);
  EXPECT_EQ(tries, 2);
}

TEST_F(ResumingClient, DoesNotGoOnWithAnotherProcess) {
  auto client = connect();
  first_.answers.reset();
  Hello hello = own_hello({});
  hello.instance = "another-process";
  second_.say(Message{.type = MessageType::hello, .hello = hello});
  const auto lost = client.run(client_job());
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, ErrorKind::peer_lost);
  EXPECT_THAT(lost.error().message, HasSubstr("was restarted"));
}

TEST_F(ResumingClient, DoesNotGoOnWhereItIsRefused) {
  auto client = connect();
  const auto id = client.send_run(client_job());
  ASSERT_TRUE(id);
  first_.answers.reset();
  Hello hello = own_hello({});
  hello.instance = instance;
  second_.say(Message{.type = MessageType::hello, .hello = hello});
  second_.say(Message{.type = MessageType::error,
                      .id = 3,
                      .error = WireError{{ErrorKind::peer_lost, "another controller is there"}}});
  const auto lost = client.await_run(*id);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, ErrorKind::peer_lost);
  EXPECT_EQ(lost.error().message, "agent client-0 did not go on: another controller is there");
}

}  // namespace
}  // namespace bench
