// A real Kubernetes on this machine, by the command as a user calls it: up, in use, down, and the
// host as it was; and what a killed supervisor, a missing program and Ctrl-C leave. Needs root and
// what `./bootstrap up` makes; every wait is for a condition, bounded.
#include <csignal>

#include <gmock/gmock.h>

#include "tests/own_cluster.h"

namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;
using tests::binaries;
using tests::comes_true;
using tests::pid_of;
using tests::tools;

class Cluster : public tests::OwnCluster {
 protected:
  // Tools that are those of the machine but for one program of a package below tools/, which is
  // `replacement`, or not there.
  void plant(const std::string& package, const std::string& program,
             const std::string& replacement) {
    const auto root = home_ / "tools";
    fs::create_directories(root / "tools");
    for (const auto* folder : {"go", "images"}) {
      fs::create_directory_symlink(tools / folder, root / folder);
    }
    for (const auto& entry : fs::directory_iterator(tools / "tools")) {
      const auto name = entry.path().filename();
      if (name != package) fs::create_directory_symlink(entry.path(), root / "tools" / name);
    }
    ASSERT_EQ(
        run({"cp", "-rs", (tools / "tools" / package).string(), (root / "tools").string()}).code,
        0);
    const auto planted = root / "tools" / package / program;
    ASSERT_TRUE(fs::remove(planted)) << planted;
    if (!replacement.empty()) fs::create_symlink(replacement, planted);
    tools_ = root.string();
  }
};

constexpr std::string_view pods = R"(
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: pause}
spec:
  selector: {matchLabels: {app: pause}}
  template:
    metadata: {labels: {app: pause}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: pause, image: "stackbench-pause:VERSION", imagePullPolicy: Never}]
---
apiVersion: v1
kind: Service
metadata: {name: pause}
spec: {clusterIP: 10.96.7.7, selector: {app: pause}, ports: [{port: 80, targetPort: 8080}]}
)";

std::string pods_of_this_version() {
  std::string text(pods);
  const std::string_view mark = "VERSION";
  return text.replace(text.find(mark), mark.size(), STACKBENCH_VERSION);
}

TEST_F(Cluster, RunsPodsAndServicesAndLeavesTheHostAsItWas) {
  const auto up = stackbench({"up", "--name", "test", "--nodes", "2"});
  ASSERT_EQ(up.code, 0) << up.err;
  EXPECT_THAT(up.out, HasSubstr("Cluster test is ready (2 nodes, kube-proxy iptables, CNI bridge"));
  EXPECT_THAT(up.out, HasSubstr("export KUBECONFIG=" + directory().string() + "/kubeconfig"));
  EXPECT_THAT(up.err, HasSubstr("control plane ready after"));
  EXPECT_EQ(fs::status(directory() / "kubeconfig").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);

  // The same again is there at once; another shape is refused.
  const auto first = state();
  const auto again = stackbench({"up", "--name", "test", "--nodes", "2"});
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(state()["supervisor"], first["supervisor"]);
  const auto other = stackbench({"up", "--name", "test", "--nodes", "3"});
  EXPECT_EQ(other.code, 2);
  EXPECT_THAT(other.err, HasSubstr("cluster test is up with another shape: 2 nodes"));
  EXPECT_THAT(other.err, HasSubstr("stackbench down --name test"));

  const auto applied = kubectl({"apply", "-f", "-"}, pods_of_this_version());
  ASSERT_EQ(applied.code, 0) << applied.err;
  const auto rolled_out = kubectl({"rollout", "status", "daemonset/pause", "--timeout=120s"});
  ASSERT_EQ(rolled_out.code, 0) << rolled_out.out << rolled_out.err
                                << kubectl({"describe", "pods"}).out;
  const auto found =
      kubectl({"get", "pods", "-o",
               "jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{\"\\n\"}{end}"});
  // Each node's pods have the addresses the routes lead to.
  EXPECT_THAT(found.out, HasSubstr("node1 10.244.1."));
  EXPECT_THAT(found.out, HasSubstr("node2 10.244.2."));

  // Every node's kube-proxy leads the Service to the pods of both.
  for (const auto& node : first["nodes"]) {
    const std::vector<std::string> save{
        "nsenter", "-t", std::to_string(node["init"].get<int>()), "-n", "iptables-save",
        "-t",      "nat"};
    std::string rules;
    EXPECT_TRUE(comes_true([&] {
      rules = run(save).out;
      return rules.find("-d 10.96.7.7/32") != std::string::npos &&
             rules.find("--to-destination 10.244.1.") != std::string::npos &&
             rules.find("--to-destination 10.244.2.") != std::string::npos;
    })) << node["name"]
        << rules;
  }

  // A component that dies: said, with its last words, and the rest goes on.
  EXPECT_EQ(stackbench({"status", "--name", "test"}).code, 0);
  ASSERT_EQ(::kill(pid_of(first, "node2-kube-proxy"), SIGTERM), 0);
  EXPECT_TRUE(comes_true([&] { return state()["phase"] == "degraded"; }));
  const auto status = stackbench({"status", "--name", "test"});
  EXPECT_EQ(status.code, 1);
  EXPECT_THAT(status.out, HasSubstr("test: degraded"));
  EXPECT_EQ(kubectl({"get", "nodes"}).code, 0);

  const auto down = stackbench({"down", "--name", "test"});
  EXPECT_EQ(down.code, 0) << down.err;
  EXPECT_FALSE(fs::exists(directory()));
  EXPECT_EQ(difference(), "");
  EXPECT_EQ(stackbench({"down", "--name", "test"}).out, "There is no cluster test.\n");
}

TEST_F(Cluster, EndsWithItsSupervisorEvenByAKillAndDownRemovesTheRest) {
  const auto up = stackbench({"up", "--name", "test", "--nodes", "1", "--proxy", "nftables"});
  ASSERT_EQ(up.code, 0) << up.err;
  ASSERT_EQ(kubectl({"apply", "-f", "-"}, pods_of_this_version()).code, 0);
  EXPECT_EQ(kubectl({"rollout", "status", "daemonset/pause", "--timeout=120s"}).code, 0);
  const auto last = state();
  const auto ruleset = run({"nsenter", "-t", std::to_string(last["nodes"][0]["init"].get<int>()),
                            "-n", "nft", "list", "table", "ip", "kube-proxy"});
  EXPECT_EQ(ruleset.code, 0) << ruleset.err;

  ASSERT_EQ(::kill(last["supervisor"].get<pid_t>(), SIGKILL), 0);
  EXPECT_TRUE(comes_true([&] { return !runs(pid_of(last, "kube-apiserver")); }));
  const auto status = stackbench({"status", "--name", "test"});
  EXPECT_EQ(status.code, 1);
  EXPECT_THAT(status.out, HasSubstr("test: gone"));
  const auto cgroup = fs::path(last["cgroup"].get<std::string>());
  const auto found =
      run({"find", "/sys/fs/cgroup", "-maxdepth", "2", "-name", cgroup.string()}).out;
  EXPECT_NE(found, "") << "what nobody is left to remove stays";

  const auto down = stackbench({"down", "--name", "test"});
  EXPECT_EQ(down.code, 0) << down.err;
  EXPECT_FALSE(fs::exists(directory()));
  EXPECT_EQ(difference(), "");
}

TEST_F(Cluster, IsFoundByCleanAfterAKillInTheMiddleOfItsStart) {
  auto up = base::Process::spawn(
      {.argv = {(binaries / "stackbench").string(), "up", "--name", "test", "--nodes", "1"},
       .environment = environment(),
       .out = base::Stdio::null(),
       .err = base::Stdio::null()});
  ASSERT_TRUE(up);
  ASSERT_TRUE(comes_true([&] { return pid_of(state(), "kube-apiserver") > 0; }));
  ASSERT_EQ(::kill(state()["supervisor"].get<pid_t>(), SIGKILL), 0);
  const auto ended = up->wait(std::chrono::seconds(30));
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->code, 2);
  const auto clean = stackbench({"clean"});
  EXPECT_EQ(clean.code, 0) << clean.err;
  EXPECT_THAT(clean.out, HasSubstr("removed what is left of cluster test"));
  EXPECT_FALSE(fs::exists(directory()));
  EXPECT_EQ(difference(), "");
}

TEST_F(Cluster, GoesDownWhenUpIsInterrupted) {
  auto up = base::Process::spawn(
      {.argv = {(binaries / "stackbench").string(), "up", "--name", "test", "--nodes", "1"},
       .environment = environment(),
       .out = base::Stdio::null(),
       .err = base::Stdio::null()});
  ASSERT_TRUE(up);
  ASSERT_TRUE(comes_true([&] { return pid_of(state(), "node1-containerd") > 0; }));
  ASSERT_TRUE(up->signal(SIGINT));
  const auto ended = up->wait(std::chrono::seconds(60));
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->code, 128 + SIGINT);
  EXPECT_FALSE(fs::exists(directory()));
  EXPECT_EQ(difference(), "");
}

TEST_F(Cluster, IsKeptByItsCommandInTheForeground) {
  auto up = base::Process::spawn({.argv = {(binaries / "stackbench").string(), "up", "--name",
                                           "test", "--nodes", "1", "--foreground"},
                                  .environment = environment(),
                                  .out = base::Stdio::null(),
                                  .err = base::Stdio::null()});
  ASSERT_TRUE(up);
  ASSERT_TRUE(comes_true([&] { return state().value("phase", "") == "ready"; }));
  EXPECT_EQ(state()["supervisor"], up->pid());
  ASSERT_TRUE(up->signal(SIGTERM));
  const auto ended = up->wait(std::chrono::seconds(60));
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->code, 0);
  EXPECT_FALSE(fs::exists(directory()));
  EXPECT_EQ(difference(), "");
}

TEST_F(Cluster, SaysWhichProgramIsMissingBeforeAnythingElse) {
  plant("runc", "usr/sbin/runc", "");
  const auto up = stackbench({"up", "--name", "test"});
  EXPECT_EQ(up.code, 2);
  EXPECT_THAT(up.err, HasSubstr("a cluster of processes lacks " + tools_ + "/tools/runc"));
  EXPECT_THAT(up.err, HasSubstr("./bootstrap up"));
  EXPECT_FALSE(fs::exists(directory()));
}

TEST_F(Cluster, SaysWhichComponentDiedInTheStartAndKeepsItsLog) {
  plant("containerd", "usr/bin/containerd", "/bin/false");
  const auto up = stackbench({"up", "--name", "test", "--nodes", "1"});
  EXPECT_EQ(up.code, 2);
  EXPECT_THAT(up.err, HasSubstr("node1-containerd ended while the cluster started: exit code 1"));
  EXPECT_THAT(up.err, HasSubstr(directory().string() + "/logs/node1-containerd.log"));
  EXPECT_TRUE(fs::exists(directory() / "logs/node1-containerd.log"));
  EXPECT_EQ(difference(), "");
  EXPECT_THAT(stackbench({"status", "--name", "test"}).out,
              HasSubstr("the logs of a start that failed"));
  EXPECT_EQ(stackbench({"down", "--name", "test"}).code, 0);
  EXPECT_FALSE(fs::exists(directory()));
}

}  // namespace
