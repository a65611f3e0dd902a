// In real namespaces: needs root.
#include "cluster/fabric/sandbox.h"

#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "cluster/fabric/cgroup.h"
#include "cluster/fabric/controller_trees.h"

namespace cluster {
namespace {

using base::Stdio;
using testing::HasSubstr;
using testing::Not;

Sandbox make_sandbox() {
  auto sandbox = Sandbox::create();
  if (!sandbox) throw std::runtime_error(base::describe_error(sandbox.error()));
  return std::move(*sandbox);
}

template <typename T>
T must(base::Result<T> result) {
  if (!result) throw std::runtime_error(base::describe_error(result.error()));
  return std::move(*result);
}

ino_t netns_of(const std::string& process) {
  struct stat status{};
  EXPECT_EQ(::stat(fmt::format("/proc/{}/ns/net", process).c_str(), &status), 0);
  return status.st_ino;
}

bool exists(pid_t pid) { return ::kill(pid, 0) == 0; }

TEST(Sandbox, HasNoInterfaceOfTheHostAndNoRoute) {
  const Sandbox sandbox = make_sandbox();
  EXPECT_EQ(must(sandbox.run({}, {"ls", "/sys/class/net"})), "lo\n");
  EXPECT_EQ(must(sandbox.run({}, {"ip", "-4", "route", "show", "table", "main"})), "");
  EXPECT_EQ(must(sandbox.run({}, {"ip", "-6", "route", "show", "table", "main"})), "");
  EXPECT_NE(netns_of(std::to_string(sandbox.init())), netns_of("self"));
}

TEST(Sandbox, ShowsOnlyItsOwnProcesses) {
  const Sandbox sandbox = make_sandbox();
  EXPECT_EQ(must(sandbox.run({}, {"cat", "/proc/1/comm"})), "stackbench-init\n");
  EXPECT_EQ(must(sandbox.run({}, {"sh", "-c", "echo $PPID"})), "0\n");
}

TEST(Sandbox, MayHaveAClockThatIsAheadOfOurs) {
  const auto ahead = std::chrono::milliseconds(1250);
  const auto sandbox = must(Sandbox::create({.init = {.clock_ahead = ahead}}));
  // /proc/uptime is CLOCK_BOOTTIME of who reads it, in hundredths of a second.
  const auto uptime = [](const std::string& text) { return std::stod(text); };
  const auto before = uptime(must(base::read_file("/proc/uptime")));
  const auto inside = uptime(must(sandbox.run({}, {"cat", "/proc/uptime"})));
  const auto after = uptime(must(base::read_file("/proc/uptime")));
  EXPECT_GE(inside, before + 1.23);
  EXPECT_LE(inside, after + 1.27);
  const std::vector<std::string> look{"readlink", "/proc/self/ns/time"};
  EXPECT_NE(must(sandbox.run({}, look)), must(base::run_for_output(look)));
  // Without one it is our clock.
  EXPECT_EQ(must(make_sandbox().run({}, look)), must(base::run_for_output(look)));
}

TEST(Sandbox, KeepsTheHostsCgroupsVisible) {
  const Sandbox sandbox = make_sandbox();
  const std::string cgroup2 = must(find_cgroup2());
  EXPECT_THAT(must(sandbox.run({}, {"ls", cgroup2})), HasSubstr("cgroup.procs"));
}

TEST(Sandbox, NamesNamespacesForItselfAlone) {
  const Sandbox sandbox = make_sandbox();
  const auto made = must(sandbox.make_netns({"one", "two"}));
  ASSERT_EQ(made.size(), 2U);
  EXPECT_EQ(made[0].name(), "one");
  EXPECT_THAT(must(sandbox.run({}, {"ip", "netns"})), HasSubstr("two"));
  EXPECT_THAT(must(base::run_for_output({"ip", "netns"})), Not(HasSubstr("two")));
  // Each is its own.
  ASSERT_TRUE(sandbox.ip({.netns = made[0].fd()}, "link add veth7 type veth peer name veth8\n"));
  EXPECT_THAT(must(sandbox.run({}, {"ip", "-n", "one", "link"})), HasSubstr("veth7"));
  EXPECT_THAT(must(sandbox.run({}, {"ip", "-n", "two", "link"})), Not(HasSubstr("veth7")));
}

TEST(Sandbox, LeavesNoNamespaceWhenOneCannotBeMade) {
  const Sandbox sandbox = make_sandbox();
  const auto made = sandbox.make_netns({"one", "bad/name"});
  ASSERT_FALSE(made);
  EXPECT_EQ(must(sandbox.run({}, {"ip", "netns"})), "");
}

TEST(Sandbox, SaysWhichLineOfABatchWasWrong) {
  const Sandbox sandbox = make_sandbox();
  const auto outcome = sandbox.ip({}, "link set lo up\nlink set nothing up\n");
  ASSERT_FALSE(outcome);
  EXPECT_THAT(outcome.error().message, HasSubstr("nothing"));
  EXPECT_THAT(outcome.error().message, HasSubstr("Command failed -:2"));
}

TEST(Sandbox, RunsAProcessInAPlaceAsOurOwnChild) {
  const Sandbox sandbox = make_sandbox();
  auto tree = must(CgroupTree::create());
  const std::string cgroup = must(tree.make("env/node1/web-0"));
  const auto netns = must(sandbox.make_netns({"web"}));
  auto process = must(sandbox.spawn({.argv = {"cat"}, .in = Stdio::pipe(), .out = Stdio::pipe()},
                                    {.netns = netns[0].fd(), .cgroup = cgroup}));
  EXPECT_THAT(must(base::read_file(fmt::format("/proc/{}/cgroup", process.pid()))),
              HasSubstr("/env/node1/web-0\n"));
  EXPECT_NE(netns_of(std::to_string(process.pid())), netns_of(std::to_string(sandbox.init())));
  // Two processes and its end: its pipes reach us, and its status too.
  ASSERT_EQ(::write(process.in.get(), "hello", 5), 5);
  process.in.reset();
  char text[6] = {};
  EXPECT_EQ(::read(process.out.get(), text, 5), 5);
  EXPECT_STREQ(text, "hello");
  EXPECT_TRUE(must(process.wait(std::chrono::seconds(5))).success());
}

TEST(Sandbox, ReportsAProgramThatCannotStart) {
  const Sandbox sandbox = make_sandbox();
  const auto missing = sandbox.spawn({.argv = {"no-such-program"}}, {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, base::ErrorKind::missing);
  // Standard input is no network namespace.
  const auto nowhere = sandbox.spawn({.argv = {"true"}}, {.netns = 0});
  ASSERT_FALSE(nowhere);
  EXPECT_THAT(nowhere.error().message, HasSubstr("entering a network namespace"));
  // Neither left a child behind.
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), 0) << "init alone is our child, and it runs";
}

TEST(Sandbox, GivesSocketsOfANamespaceToTheController) {
  const Sandbox sandbox = make_sandbox();
  const auto netns = must(sandbox.make_netns({"one"}));
  const ino_t before = netns_of("thread-self");
  ino_t within = 0;
  ASSERT_TRUE(sandbox.inside(netns[0].fd(), [&]() -> base::Result<> {
    struct stat status{};
    if (::fstat(netns[0].fd(), &status) < 0) return base::system_error(errno, "fstat");
    within = status.st_ino;
    RETURN_IF_ERROR(write_sysctls({{"net.ipv4.ip_local_port_range", "2000 2001"}}));
    ASSIGN_OR_RETURN(const std::string range, read_sysctl("net.ipv4.ip_local_port_range"));
    EXPECT_EQ(range, "2000\t2001");
    return {};
  }));
  EXPECT_NE(within, before);
  EXPECT_EQ(netns_of("thread-self"), before);
  EXPECT_NE(must(read_sysctl("net.ipv4.ip_local_port_range")), "2000\t2001");
}

TEST(Sandbox, EndsEverythingInsideWhenItEnds) {
  Sandbox sandbox = make_sandbox();
  const pid_t init = sandbox.init();
  // Its grandchild is an orphan of the namespace, which init must reap.
  auto process = must(sandbox.spawn(
      {.argv = {"sh", "-c", "(sleep 1000 & echo started); exec sleep 1000"}, .out = Stdio::pipe()},
      {}));
  char text[8] = {};
  ASSERT_EQ(::read(process.out.get(), text, sizeof(text)), 8);
  ASSERT_TRUE(process.kill());
  const auto ended = sandbox.end();
  EXPECT_TRUE(ended) << base::describe_error(ended.error());
  EXPECT_FALSE(exists(init));
  EXPECT_TRUE(sandbox.end());
}

TEST(Sandbox, EndsWithItsMakerEvenByAKill) {
  int pipes[2];
  ASSERT_EQ(::pipe(pipes), 0);
  const pid_t maker = ::fork();
  if (maker == 0) {
    auto sandbox = Sandbox::create();
    if (!sandbox) ::_exit(1);
    auto process = sandbox->spawn({.argv = {"sleep", "1000"}}, {});
    if (!process) ::_exit(1);
    const pid_t pids[2] = {sandbox->init(), process->pid()};
    if (::write(pipes[1], pids, sizeof(pids)) != sizeof(pids)) ::_exit(1);
    ::pause();
  }
  ::close(pipes[1]);  // so that a maker that failed is the end of it
  pid_t pids[2] = {};
  ASSERT_EQ(::read(pipes[0], pids, sizeof(pids)), static_cast<ssize_t>(sizeof(pids)));
  ASSERT_EQ(::kill(maker, SIGKILL), 0);
  ASSERT_EQ(::waitpid(maker, nullptr, 0), maker);
  for (const pid_t pid : pids) {
    const auto deadline = base::monotonic_now() + std::chrono::seconds(10);
    // A zombie waits for a reaper that is not ours; it runs nothing any more.
    const auto runs = [pid] {
      const auto stat = base::read_file(fmt::format("/proc/{}/stat", pid), 4096);
      return stat && stat->find(") Z ") == std::string::npos;
    };
    while (runs() && base::monotonic_now() < deadline) ::sched_yield();
    EXPECT_FALSE(runs()) << pid;
  }
  ::close(pipes[0]);
}

TEST(SandboxWithinAnother, HasItsOwnMountsNamesAndProcessesInANamespaceOfTheOuter) {
  const Sandbox outer = make_sandbox();
  const auto netns = must(outer.make_netns({"node1"}));
  const std::string own = ::testing::TempDir() + "/sandbox-test-own";
  ASSERT_TRUE(::mkdir(own.c_str(), 0755) == 0 || errno == EEXIST);
  Sandbox inner = must(Sandbox::create(
      {.within = &outer,
       .netns = netns[0].fd(),
       .init = {.hostname = "node1",
                .mounts = {{.source = own, .target = "/var/lib", .flags = MS_BIND}}}}));
  EXPECT_EQ(must(inner.run({}, {"hostname"})), "node1\n");
  EXPECT_NE(must(outer.run({}, {"hostname"})), "node1\n");
  EXPECT_EQ(must(inner.run({}, {"cat", "/proc/1/comm"})), "stackbench-init\n");
  EXPECT_EQ(must(inner.run({}, {"ls", "/var/lib"})), "");
  EXPECT_NE(must(outer.run({}, {"ls", "/var/lib"})), "");
  // It is in the outer one's namespace, which holds its processes, too.
  ASSERT_TRUE(outer.ip({.netns = netns[0].fd()}, "link add veth7 type veth peer name veth8\n"));
  EXPECT_THAT(must(inner.run({}, {"ls", "/sys/class/net"})), HasSubstr("veth7"));
  auto process = must(inner.spawn({.argv = {"sleep", "1000"}}, {}));
  EXPECT_THAT(must(outer.run({}, {"ps", "-A", "-o", "comm"})), HasSubstr("sleep"));
  ASSERT_TRUE(process.kill());
  const pid_t init = inner.init();
  const auto ended = inner.end();
  EXPECT_TRUE(ended) << base::describe_error(ended.error());
  EXPECT_FALSE(exists(init));
  EXPECT_TRUE(exists(outer.init()));
  ::rmdir(own.c_str());
}

TEST(SandboxWithinAnother, KeepsADirectoryThatAMountCovers) {
  const Sandbox outer = make_sandbox();
  const std::string top = ::testing::TempDir() + "/sandbox-test-kept";
  must(base::run_for_output({"mkdir", "-p", top + "/own/kept", top + "/place/kept"}));
  std::ofstream(top + "/place/kept/file") << "here";
  std::ofstream(top + "/place/hidden") << "";
  const Sandbox inner = must(Sandbox::create(
      {.within = &outer,
       .init = {.mounts = {{.source = top + "/own", .target = top + "/place", .flags = MS_BIND}},
                .kept = {top + "/place/kept"}}}));
  EXPECT_EQ(must(inner.run({}, {"ls", top + "/place"})), "kept\n");
  EXPECT_EQ(must(inner.run({}, {"cat", top + "/place/kept/file"})), "here");
  must(base::run_for_output({"rm", "-r", top}));
}

TEST(SandboxWithinAnother, SaysWhichMountFailed) {
  const Sandbox outer = make_sandbox();
  const auto inner = Sandbox::create(
      {.within = &outer,
       .init = {.mounts = {{.source = "none", .target = "/run", .flags = MS_SHARED},
                           {.source = "/no/such", .target = "/mnt", .flags = MS_BIND}}}});
  ASSERT_FALSE(inner);
  EXPECT_EQ(inner.error().message, "making the sandbox: mounting /mnt: No such file or directory");
}

TEST(SandboxWithinAnother, EndsWithTheOuter) {
  Sandbox outer = make_sandbox();
  Sandbox inner = must(Sandbox::create({.within = &outer}));
  const pid_t init = inner.init();
  // The kernel lets the outer init go once our children in there have been waited for.
  std::thread reaper([&] { ::waitpid(init, nullptr, 0); });
  EXPECT_TRUE(outer.end());
  reaper.join();
  EXPECT_FALSE(exists(init));
}

TEST(ControllerTrees, AreInEveryHierarchyAndGoTogether) {
  const auto hierarchies = must(find_hierarchies());
  auto trees = must(ControllerTrees::create());
  EXPECT_EQ(must(trees.make("node1")), "/" + trees.name() + "/node1");
  for (const auto& hierarchy : hierarchies) {
    const auto path = hierarchy.path + "/" + trees.name() + "/node1";
    EXPECT_EQ(::access(path.c_str(), F_OK), 0) << path;
    EXPECT_THAT(must(abandoned_trees(hierarchy.path)),
                Not(testing::Contains(HasSubstr(trees.name()))));
    // A cpuset takes a process only once it has processors and memory.
    const auto cpus = base::read_file(path + "/cpuset.cpus");
    if (hierarchy.version == 1 && cpus) {
      EXPECT_NE(*cpus, "\n");
    }
  }
  const auto removed = trees.remove();
  EXPECT_TRUE(removed) << base::describe_error(removed.error());
  for (const auto& hierarchy : hierarchies) {
    EXPECT_NE(::access((hierarchy.path + "/" + trees.name()).c_str(), F_OK), 0);
  }
}

TEST(CgroupTree, IsSparedWhileItsOwnerLivesAndGoesWithIt) {
  const std::string cgroup2 = must(find_cgroup2());
  auto tree = must(CgroupTree::create());
  const std::string leaf = must(tree.make("env/node1/web-0"));
  EXPECT_EQ(must(tree.make("env/node1/web-0")), leaf);
  EXPECT_THAT(must(abandoned_trees(cgroup2)), Not(testing::Contains(tree.path())));
  ASSERT_TRUE(tree.remove());
  EXPECT_NE(::access(tree.path().c_str(), F_OK), 0);
  EXPECT_TRUE(tree.remove());
}

TEST(CgroupTree, IsFoundAndRemovedOnceItsOwnerIsGone) {
  const std::string cgroup2 = must(find_cgroup2());
  // A process that leaves its tree, with another process in it, behind.
  int pipes[2];
  ASSERT_EQ(::pipe(pipes), 0);
  const pid_t owner = ::fork();
  if (owner == 0) {
    auto tree = CgroupTree::create();
    const auto leaf = tree->make("env/node1/web-0");
    const std::string path = tree->path();
    if (::fork() == 0) {
      // The lock is its owner's: this one must not hold it, too.
      ::close_range(3, ~0U, 0);
      std::ofstream(*leaf + "/cgroup.procs") << "0";
      ::pause();
    }
    while (must(base::read_file(*leaf + "/cgroup.procs")).empty()) ::sched_yield();
    if (::write(pipes[1], path.data(), path.size()) < 0) ::_exit(1);
    ::_exit(0);
  }
  char text[256] = {};
  ::close(pipes[1]);
  ASSERT_GT(::read(pipes[0], text, sizeof(text) - 1), 0);
  ASSERT_EQ(::waitpid(owner, nullptr, 0), owner);
  const std::string path = text;
  EXPECT_THAT(must(abandoned_trees(cgroup2)), testing::Contains(path));
  const auto removed = remove_cgroup_tree(path);
  EXPECT_TRUE(removed) << base::describe_error(removed.error());
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  ::close(pipes[0]);
}

}  // namespace
}  // namespace cluster
