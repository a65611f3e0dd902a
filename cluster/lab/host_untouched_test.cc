// The host is as it was: after a lab that was taken down, and after one whose controller was killed
// at any moment. Needs root; other work on the machine at the same time may show in the
// difference, which is printed.
#include <random>
#include <sstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/testing/lab.h"
#include "cluster/lab/clean.h"
#include "cluster/lab/lab_target.h"
#include "tests/host_snapshot.h"

namespace cluster {
namespace {

constexpr std::array datapaths{DatapathKind::nftables, DatapathKind::ebpf_socket,
                               DatapathKind::iptables, DatapathKind::ebpf_tc, DatapathKind::direct};

EnvironmentPlan plan_of(DatapathKind datapath) {
  EnvironmentPlan plan;
  plan.name = base::enum_name(datapath);
  plan.datapath = datapath;
  plan.topology.pods["client"] = {.node = 1, .replicas = 1};
  plan.topology.pods["web"] = {.node = 2, .replicas = 3};
  plan.topology.services["web"] = {.target = "web"};
  plan.ports = {{"tcp-rr", Protocol::TCP, 8001, 7001}};
  return plan;
}

// A controller in a process of its own: brings everything up, with an agent in every pod, says so
// on `ready_fd` and waits to be killed.
[[noreturn]] void run_controller(int ready_fd) {
  LabTarget lab({.agent = "/bin/cat"});
  std::vector<AgentStreams> agents;
  for (const auto kind : datapaths) {
    const auto environment = lab.provision(plan_of(kind));
    if (!environment) ::_exit(1);
    for (const auto& pod : environment->pods) {
      auto streams = lab.agent(environment->name, pod.name);
      if (!streams) ::_exit(1);
      agents.push_back(std::move(*streams));
    }
  }
  if (::write(ready_fd, "r", 1) != 1) ::_exit(1);
  while (true) ::pause();
}

// Starts a controller and kills it `delay` after its start, or once it is ready and, with `delay`
// negative, only then. Returns whether it had become ready.
bool kill_controller_after(std::chrono::milliseconds delay) {
  int pipe_ends[2] = {};
  EXPECT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  const pid_t controller = ::fork();
  if (controller == 0) run_controller(pipe_ends[1]);
  ::close(pipe_ends[1]);
  pollfd ready{.fd = pipe_ends[0], .events = POLLIN, .revents = 0};
  const int timeout = delay.count() < 0 ? 30'000 : static_cast<int>(delay.count());
  const bool was_ready = ::poll(&ready, 1, timeout) > 0 && (ready.revents & POLLIN) != 0;
  EXPECT_EQ(::kill(controller, SIGKILL), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(controller, &status, 0), controller);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the controller failed by itself";
  ::close(pipe_ends[0]);
  return was_ready;
}

class HostUntouched : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  }
};

TEST_F(HostUntouched, AfterProvisionAndTeardown) {
  const auto before = tests::HostSnapshot::take_settled();
  {
    LabTarget lab;
    const auto start = base::monotonic_now();
    for (const auto kind : datapaths) {
      const auto environment = lab.provision(plan_of(kind));
      ASSERT_TRUE(environment) << base::describe_error(environment.error());
    }
    RecordProperty("provision_ms", static_cast<int>((base::monotonic_now() - start) /
                                                    std::chrono::milliseconds(1)));
    // While it is up, the host shows its cgroups, hooks and namespaces, so the comparison can see.
    EXPECT_NE(before.difference(tests::HostSnapshot::take()), "");
    ASSERT_TRUE(lab.teardown());
  }
  EXPECT_EQ(tests::difference_from(before), "");
}

TEST_F(HostUntouched, WhileItIsUpButForCgroupsHooksAndProcesses) {
  const auto before = tests::HostSnapshot::take_settled();
  LabTarget lab;
  for (const auto kind : datapaths) ASSERT_TRUE(lab.provision(plan_of(kind)));
  std::istringstream difference(before.difference(tests::HostSnapshot::take()));
  std::vector<std::string> sections;
  for (std::string line; std::getline(difference, line);) {
    if (!line.starts_with(' ')) sections.push_back(line);
  }
  EXPECT_THAT(sections, testing::IsSubsetOf({"BPF links:", "BPF maps:", "BPF programs:", "cgroups:",
                                             "namespaces of processes:"}));
}

TEST_F(HostUntouched, AfterAKillOfTheReadyControllerAndClean) {
  const auto before = tests::HostSnapshot::take_settled();
  ASSERT_TRUE(kill_controller_after(std::chrono::milliseconds(-1)));
  const auto found = clean_lab(true);
  ASSERT_TRUE(found);
  EXPECT_THAT(*found, testing::Contains(testing::HasSubstr("/stackbench-")));
  const auto cleaned = clean_lab(false);
  ASSERT_TRUE(cleaned) << base::describe_error(cleaned.error());
  EXPECT_EQ(tests::difference_from(before), "");
}

TEST_F(HostUntouched, AfterAKillAtAnyMomentAndClean) {
  const auto before = tests::HostSnapshot::take_settled();
  const auto seed = std::random_device()();
  RecordProperty("seed", std::to_string(seed));
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> moment(0, 1200);
  for (int round = 0; round < 12; ++round) {
    kill_controller_after(std::chrono::milliseconds(moment(generator)));
    const auto cleaned = clean_lab(false);
    ASSERT_TRUE(cleaned) << base::describe_error(cleaned.error());
  }
  EXPECT_EQ(tests::difference_from(before), "") << "seed " << seed;
}

// A live run beside a dead one: clean takes the dead one's alone.
TEST_F(HostUntouched, CleanSparesALiveRun) {
  LabTarget lab;
  const auto environment = lab.provision(plan_of(DatapathKind::direct));
  ASSERT_TRUE(environment);
  const std::string live = lab.environment("direct")->cgroup("web-0");
  kill_controller_after(std::chrono::milliseconds(-1));
  ASSERT_TRUE(clean_lab(false));
  EXPECT_EQ(::access(live.c_str(), F_OK), 0);
  EXPECT_TRUE(lab.apply("direct", base::Json{{"apiVersion", "v1"},
                                             {"kind", "Service"},
                                             {"metadata", {{"name", "late"}}},
                                             {"spec", {{"ports", {{{"port", 80}}}}}}}));
  const auto again = clean_lab(true);
  ASSERT_TRUE(again);
  for (const auto& found : *again) EXPECT_EQ(live.find(found), std::string::npos) << found;
  EXPECT_TRUE(lab.teardown());
  EXPECT_NE(::access(live.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace cluster
