#include "cluster/kubernetes/exec_stream.h"

#include <array>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "cluster/kubernetes/agents.h"
#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster {
namespace {

using base::ErrorKind;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What comes until `size` bytes are there, or the end.
std::string read_from(const base::UniqueFd& fd, std::size_t size) {
  std::string text;
  std::array<char, 4096> chunk;
  while (text.size() < size && wait_for(fd.get(), POLLIN, Until::after(seconds(5)))) {
    const auto count = ::read(fd.get(), chunk.data(), chunk.size());
    if (count <= 0) break;
    text.append(chunk.data(), static_cast<std::size_t>(count));
  }
  return text;
}

bool write_to(const base::UniqueFd& fd, std::string_view text) {
  return ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::string errors_of(const AgentStreams& streams) {
  std::string text(100, '\0');
  const auto count = ::pread(streams.errors.get(), text.data(), text.size(), 0);
  text.resize(count > 0 ? std::min(text.find('\0'), text.size()) : 0);
  return text;
}

class ExecStreamTest : public ::testing::Test {
 protected:
  ExecStreamTest() {
    server_.put("/api/v1/namespaces/it/pods/web-0", {{"spec", {{"containers", nullptr}}}});
  }
  base::Result<std::optional<AgentStreams>> open(ExecStreams& streams) {
    return streams.open({.in_namespace = "it",
                         .pod = "web-0",
                         .container = "agent",
                         .command = {"/usr/bin/it", "a b", "c&d"}},
                        Until::after(seconds(5)));
  }
  // As a program that says what it reads.
  void echo() {
    server_.on_exec([](testing::ExecSession& session) {
      while (const auto text = session.read()) session.write_out(*text);
      session.exit(0);
    });
  }

  testing::FakeApiServer server_;
};

TEST_F(ExecStreamTest, CarriesBytesBothWaysUnchanged) {
  echo();
  ExecStreams streams(server_.socket());
  auto opened = open(streams);
  ASSERT_TRUE(opened) << opened.error().message;
  ASSERT_TRUE(*opened);
  auto& agent = **opened;
  std::string all(std::size_t{1} << 18, '\0');
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>(i * 31);
  std::jthread writer([&] { EXPECT_TRUE(write_to(agent.to_agent, all)); });
  EXPECT_EQ(read_from(agent.from_agent, all.size()), all);
}

TEST_F(ExecStreamTest, ClosingTheWayInClosesTheProgramsStdin) {
  echo();
  ExecStreams streams(server_.socket());
  auto opened = open(streams);
  ASSERT_TRUE(opened && *opened);
  auto& agent = **opened;
  ASSERT_TRUE(write_to(agent.to_agent, "hello"));
  agent.to_agent.reset();
  EXPECT_EQ(read_from(agent.from_agent, 100), "hello");  // and then its end
  EXPECT_EQ(agent.how_it_ended(), "exit code 0");
}

TEST_F(ExecStreamTest, StderrIsApartAndHowItEndedIsTold) {
  std::vector<std::string> command;
  server_.on_exec([&](testing::ExecSession& session) {
    command = session.command();
    session.write_err("no socket there");
    session.exit(3);
  });
  ExecStreams streams(server_.socket());
  auto opened = open(streams);
  ASSERT_TRUE(opened && *opened);
  EXPECT_EQ(read_from((*opened)->from_agent, 1), "");
  EXPECT_EQ(errors_of(**opened), "no socket there");
  EXPECT_EQ((*opened)->how_it_ended(), "exit code 3");
  EXPECT_THAT(command, ElementsAre("/usr/bin/it", "a b", "c&d"));
}

TEST_F(ExecStreamTest, ACutStreamIsToldFromAnEnd) {
  server_.on_exec([](testing::ExecSession& session) { session.cut(); });
  ExecStreams streams(server_.socket());
  auto opened = open(streams);
  ASSERT_TRUE(opened && *opened);
  EXPECT_EQ(read_from((*opened)->from_agent, 1), "");
  EXPECT_THAT((*opened)->how_it_ended(), HasSubstr("its stream was cut"));
}

TEST_F(ExecStreamTest, AFloodOnStderrIsKeptWithinBounds) {
  server_.on_exec([](testing::ExecSession& session) {
    const std::string line(10'000, 'x');
    for (int i = 0; i < 20; ++i) session.write_err(line);
    session.exit(0);
  });
  ExecStreams streams(server_.socket());
  auto opened = open(streams);
  ASSERT_TRUE(opened && *opened);
  EXPECT_EQ(read_from((*opened)->from_agent, 1), "");
  EXPECT_EQ(::lseek((*opened)->errors.get(), 0, SEEK_END), 64 << 10);
}

TEST_F(ExecStreamTest, AServerWithoutWebSocketIsNoError) {
  server_.set_exec_protocol("");
  ExecStreams streams(server_.socket());
  const auto opened = open(streams);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_FALSE(*opened);
}

TEST_F(ExecStreamTest, APodThatIsNotThereIsSaid) {
  server_.erase("/api/v1/namespaces/it/pods/web-0");
  ExecStreams streams(server_.socket());
  const auto opened = open(streams);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::missing);
  EXPECT_EQ(opened.error().message, "exec in it/web-0: pods \"web-0\" not found");
}

TEST_F(ExecStreamTest, APodThatHasEndedIsNoReasonToDoWithoutWebSocket) {
  server_.answer_with({.when = "/exec",
                       .status = 400,
                       .body = R"({"message":"cannot exec into a container in a completed pod"})"});
  ExecStreams streams(server_.socket());
  const auto opened = open(streams);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::input);
}

TEST_F(ExecStreamTest, NoRightToExecIsSaid) {
  server_.answer_with({.when = "/exec",
                       .status = 403,
                       .body = R"({"message":"cannot create resource \"pods/exec\""})"});
  ExecStreams streams(server_.socket());
  const auto opened = open(streams);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::not_permitted);
  EXPECT_THAT(opened.error().message, HasSubstr("pods/exec"));
}

TEST_F(ExecStreamTest, EndsWithItsOwner) {
  echo();
  AgentStreams agent;
  {
    ExecStreams streams(server_.socket());
    auto opened = open(streams);
    ASSERT_TRUE(opened && *opened);
    agent = std::move(**opened);
  }
  EXPECT_EQ(read_from(agent.from_agent, 1), "");
}

class AgentsTest : public ExecStreamTest {
 protected:
  AgentsTest() { server_.add_node("n1", "172.18.0.2"); }
};

TEST_F(AgentsTest, AreAttachedToAndHadAgain) {
  echo();
  Agents all(server_.socket(), {.kubectl = server_.kubectl()}, nullptr);
  auto first = all.attach("it", "web-0", "n1");
  ASSERT_TRUE(first) << first.error().message;
  first->from_agent.reset();
  first->to_agent.reset();
  auto second = first->reattach();
  ASSERT_TRUE(second) << second.error().message;
  ASSERT_TRUE(write_to(second->to_agent, "hi"));
  EXPECT_EQ(read_from(second->from_agent, 2), "hi");
  EXPECT_EQ(all.way(), "WebSocket");
  EXPECT_EQ(server_.count("command=%2Fusr%2Fbin%2Fstackbench-agent&command=attach"), 2);
}

TEST_F(AgentsTest, OfAPodThatIsGoneAreLost) {
  echo();
  Agents all(server_.socket(), {.kubectl = server_.kubectl()}, nullptr);
  const auto streams = all.attach("it", "web-0", "n1");
  ASSERT_TRUE(streams) << streams.error().message;
  server_.erase("/api/v1/namespaces/it/pods/web-0");
  const auto again = streams->reattach();
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::peer_lost);
}

TEST_F(AgentsTest, AServerThatStallsForAMomentIsAskedAgain) {
  echo();
  server_.answer_with({.when = "/exec", .status = 500, .body = R"({"message":"not yet"})"});
  Agents all(server_.socket(), {.kubectl = server_.kubectl()}, nullptr);
  const auto streams = all.attach("it", "web-0", "n1");
  ASSERT_TRUE(streams) << streams.error().message;
}

TEST_F(AgentsTest, KubectlExecStandsInWhereWebSocketIsRefused) {
  server_.set_exec_protocol("");
  Agents all(server_.socket(), {.kubectl = server_.kubectl(), .context = "here"}, nullptr);
  auto streams = all.attach("it", "web-0", "n1");
  ASSERT_TRUE(streams) << streams.error().message;
  EXPECT_EQ(all.way(), "kubectl exec");
  ASSERT_TRUE(write_to(streams->to_agent, "hi"));
  EXPECT_EQ(read_from(streams->from_agent, 2), "hi");
  streams->to_agent.reset();
  EXPECT_EQ(read_from(streams->from_agent, 1), "");
  EXPECT_EQ(streams->how_it_ended(), "exit code 0");
  EXPECT_EQ(errors_of(*streams),
            "--context=here exec -i --namespace=it --container=agent web-0 -- "
            "/usr/bin/stackbench-agent attach\n");
}

TEST_F(AgentsTest, RunsAProgramAndTakesItsOutput) {
  server_.on_exec([](testing::ExecSession& session) {
    session.write_out("{\"links\":");
    session.write_out("[]}");
    session.exit(0);
  });
  Agents all(server_.socket(), {.kubectl = server_.kubectl()}, nullptr);
  const auto text = all.run("it", "web-0", {"network"});
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text, "{\"links\":[]}");
}

TEST_F(AgentsTest, AProgramThatFailsIsAnErrorInItsOwnWords) {
  server_.on_exec([](testing::ExecSession& session) {
    session.write_err("what is that?\n");
    session.exit(2);
  });
  Agents all(server_.socket(), {.kubectl = server_.kubectl()}, nullptr);
  const auto text = all.run("it", "web-0", {"network"});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().message,
            "stackbench-agent network in pod web-0: exit code 2: what is that?");
}

TEST(EndingOf, ReadsTheServersStatus) {
  EXPECT_EQ(ending_of(R"({"status":"Success"})"), "exit code 0");
  EXPECT_EQ(ending_of(R"({"status":"Failure","message":"m","details":{"causes":[)"
                      R"({"reason":"ExitCode","message":"137"}]}})"),
            "exit code 137");
  EXPECT_EQ(ending_of(R"({"status":"Failure","message":"no such file"})"), "no such file");
  EXPECT_EQ(ending_of("broken"), "broken");
}

}  // namespace
}  // namespace cluster
