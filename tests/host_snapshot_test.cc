#include "tests/host_snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process.h"

namespace tests {
namespace {

using testing::HasSubstr;

TEST(HostSnapshot, SaysWhatWentAndWhatCame) {
  const HostSnapshot before({{"links", {"eth0", "lo"}}, {"mounts", {"/"}}});
  const HostSnapshot after({{"links", {"lo", "veth1"}}, {"mounts", {"/"}}});
  EXPECT_EQ(before.difference(before), "");
  EXPECT_EQ(before.difference(after), "links:\n  - eth0\n  + veth1\n");
  EXPECT_EQ(before.difference(HostSnapshot({{"links", {"eth0", "lo"}}})), "mounts:\n  - /\n");
}

TEST(HostSnapshot, LeavesOutOthersCgroupsAndNothingElse) {
  const std::string others = "cgroups:\n  - /sys/fs/cgroup/memory/theirs/1\n";
  EXPECT_EQ(without_cgroups_of_others(others), "");
  EXPECT_EQ(without_cgroups_of_others(others + "links:\n  + veth1\n"), "links:\n  + veth1\n");
  // Whose section begins with one that goes, or has one after it.
  EXPECT_EQ(without_cgroups_of_others(others + "  + /sys/fs/cgroup/stackbench-1\n  + /x\n"),
            "cgroups:\n  + /sys/fs/cgroup/stackbench-1\n");
  const std::string ours = "cgroups:\n  + /kubepods/pod1\n  - /k8s.io/2\nmounts:\n  - /x\n";
  EXPECT_EQ(without_cgroups_of_others(ours), ours);
}

// Each is a change that a careless lab would make; the snapshot must see every one of them. They
// are made in a mount and network namespace of their own.
TEST(HostSnapshot, SeesEveryPlantedChange) {
  if (::unshare(CLONE_NEWNS | CLONE_NEWNET) < 0) GTEST_SKIP() << "needs root: unshare refused";
  ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(::mount("tmpfs", "/run", "tmpfs", 0, nullptr), 0);
  const auto run = [](const std::vector<std::string>& argv) {
    const auto done = base::run_for_output(argv);
    EXPECT_TRUE(done) << done.error().message;
  };
  run({"ip", "link", "set", "lo", "up"});
  struct Planted {
    std::string section;
    std::function<void()> change;
  };
  const std::vector<Planted> all{
      {"links:", [&] { run({"ip", "link", "add", "veth1", "type", "veth", "peer", "veth2"}); }},
      {"addresses:", [&] { run({"ip", "addr", "add", "192.0.2.1/32", "dev", "lo"}); }},
      {"IPv4 routes:", [&] { run({"ip", "route", "add", "192.0.2.0/24", "dev", "lo"}); }},
      {"IPv6 routes:", [&] { run({"ip", "route", "add", "fd00:7::/64", "dev", "lo"}); }},
      {"IPv4 rules:", [&] { run({"ip", "rule", "add", "fwmark", "7", "table", "7"}); }},
      {"queueing disciplines:", [&] { run({"tc", "qdisc", "add", "dev", "veth1", "clsact"}); }},
      {"nft ruleset:", [&] { run({"nft", "add", "table", "ip", "planted"}); }},
      {"iptables:", [&] { run({"iptables", "-N", "PLANTED"}); }},
      {"ip6tables:", [&] { run({"ip6tables", "-N", "PLANTED"}); }},
      {"sysctls:", [&] { run({"sysctl", "-q", "-w", "net.ipv4.ip_default_ttl=63"}); }},
      {"/run:", [&] { ASSERT_EQ(::mkdir("/run/planted", 0700), 0); }},
      {"mounts:", [&] { ASSERT_EQ(::mount("t", "/run/planted", "tmpfs", 0, nullptr), 0); }},
      {"named network namespaces:", [&] { run({"ip", "netns", "add", "planted"}); }},
  };
  for (const auto& planted : all) {
    const auto before = HostSnapshot::take();
    planted.change();
    EXPECT_THAT(before.difference(HostSnapshot::take()), HasSubstr(planted.section));
  }
}

}  // namespace
}  // namespace tests
