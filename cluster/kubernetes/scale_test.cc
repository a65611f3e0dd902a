// What many agents cost the controller: requests and memory, with the simulated API server in a
// process of its own.
#include <array>
#include <charconv>
#include <csignal>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "cluster/kubernetes/kubernetes_target.h"
#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster {
namespace {

// The server in a child: its socket's paths come as the first line, and it says how many requests
// it has answered whenever it reads one.
class ServerProcess {
 public:
  ServerProcess() {
    std::array<int, 2> to{};
    std::array<int, 2> from{};
    if (::pipe(to.data()) < 0 || ::pipe(from.data()) < 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(to[1]);
      serve(to[0], from[1]);
    }
    ::close(to[0]);
    ::close(from[1]);
    to_ = base::UniqueFd(to[1]);
    from_ = base::UniqueFd(from[0]);
    kubectl_ = line();
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess() {
    to_.reset();
    ::waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] const std::string& kubectl() const { return kubectl_; }
  [[nodiscard]] int requests() const {
    if (::write(to_.get(), "?", 1) != 1) return -1;
    const auto text = line();
    int count = -1;
    std::from_chars(text.data(), text.data() + text.size(), count);
    return count;
  }

 private:
  [[noreturn]] static void serve(int in, int out) {
    {
      testing::FakeApiServer server;
      server.add_node("n1", "172.18.0.2");
      server.on_exec([](testing::ExecSession& session) {
        while (const auto text = session.read()) session.write_out(*text);
        session.exit(0);
      });
      const auto say = [&](const std::string& text) {
        const auto whole = text + "\n";
        if (::write(out, whole.data(), whole.size()) < 0) ::_exit(1);
      };
      say(server.kubectl());
      char letter = 0;
      while (::read(in, &letter, 1) == 1) say(std::to_string(server.count(" ")));
    }
    ::_exit(0);
  }
  [[nodiscard]] std::string line() const {
    std::string text;
    char letter = 0;
    while (::read(from_.get(), &letter, 1) == 1 && letter != '\n') text += letter;
    return text;
  }

  pid_t pid_ = -1;
  base::UniqueFd to_;
  base::UniqueFd from_;
  std::string kubectl_;
};

std::int64_t resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kib = 0;
    if (word == "VmRSS:" && status >> kib) return kib;
  }
  return -1;
}

EnvironmentPlan plan_of(int web) {
  return {.name = fmt::format("with_{}", web),
          .datapath = DatapathKind::iptables,
          .topology = {.nodes = 1,
                       .pods = {{"a", {.replicas = web / 2}}, {"b", {.replicas = web - web / 2}}},
                       .services = {{"web", {.target = "a"}}}},
          .ports = {{"tcp-rr", Protocol::TCP, 8001, 9001}},
          .faults = {}};
}

TEST(Scale, RequestsGrowByTwoForEachPod) {
  const ServerProcess server;
  auto target = KubernetesTarget::create({.kubectl = server.kubectl()});
  ASSERT_TRUE(target) << target.error().message;
  const auto taken = [&](int pods) {
    const auto before = server.requests();
    EXPECT_TRUE((*target)->provision(plan_of(pods)));
    return server.requests() - before;
  };
  const int few = taken(2);
  const int many = taken(40);
  // Made, and written ready. Whether a watch is needed at all is a matter of who is faster.
  EXPECT_NEAR(many - few, 2 * 38, 3);
}

TEST(Scale, TwoHundredAgentsFitIntoTheControllersMemory) {
  const ServerProcess server;
  auto target = KubernetesTarget::create({.kubectl = server.kubectl()});
  ASSERT_TRUE(target) << target.error().message;
  const auto plan = plan_of(200);
  const auto environment = (*target)->provision(plan);
  ASSERT_TRUE(environment) << environment.error().message;
  std::vector<AgentStreams> agents;
  for (const auto& pod : environment->pods) {
    auto streams = (*target)->agent(plan.name, pod.name);
    ASSERT_TRUE(streams) << streams.error().message;
    ASSERT_EQ(::write(streams->to_agent.get(), "hello", 5), 5);
    agents.push_back(std::move(*streams));
  }
  std::array<char, 5> word{};
  for (const auto& agent : agents) {
    ASSERT_EQ(::read(agent.from_agent.get(), word.data(), word.size()), 5);
  }
  EXPECT_LE(resident_kib(), 300 << 10);
  RecordProperty("resident_kib", std::to_string(resident_kib()));
}

}  // namespace
}  // namespace cluster
