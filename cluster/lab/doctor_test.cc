#include "cluster/lab/doctor.h"

#include <algorithm>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"

namespace cluster {
namespace {

using base::ErrorKind;
using ::testing::HasSubstr;

// A machine that has everything, and of which tests take things away.
struct FakeMachine {
  bool root = true;
  unsigned cpus = 4;
  std::map<std::string, std::string> files = {
      {"/proc/mounts",
       "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
       "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
       "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n"
       "cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0\n"
       "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n"
       "bpf /sys/fs/bpf bpf rw 0 0\n"},
      {"/sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n"},
      {"/sys/kernel/btf/vmlinux", "BTF"},
      {"/proc/sys/net/netfilter/nf_conntrack_count", "0\n"},
      {"/proc/sys/net/ipv6/conf/all/disable_ipv6", "0\n"},
      {"/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"}};
  std::map<std::string, std::string> versions = {
      {"ip", "ip utility, iproute2-6.1.0\n"},
      {"nft", "nftables v1.0.6\nmore\n"},
      {"iptables", "iptables v1.8.9 (nf_tables)\n"},
      {"ip6tables", "ip6tables v1.8.9 (nf_tables)\n"},
      {"iptables-restore", "iptables-restore v1.8.9\n"},
      {"ip6tables-restore", "ip6tables-restore v1.8.9\n"},
      {"bpftool", "bpftool v7.1.0\n"},
      {"/tools/envoy", "\n/tools/envoy  version: dc2d/1.36.4/Clean/RELEASE/BoringSSL\n\n"}};
  std::string envoy = "/tools/envoy";
  std::map<std::string, ErrorKind> refused = {};  // a program, a kind of namespace, "rules of nft"

  [[nodiscard]] base::Result<> unless_refused(const std::string& what) const {
    const auto found = refused.find(what);
    if (found == refused.end()) return {};
    return base::fail(found->second, "{}: refused\nand why at length", what);
  }

  [[nodiscard]] std::vector<Feature> probe() const {
    MachineProbes probes;
    probes.root = root;
    probes.cpus = cpus;
    probes.read = [this](const std::string& path) -> base::Result<std::string> {
      const auto found = files.find(path);
      if (found == files.end()) return base::fail(ErrorKind::missing, "{}: not there", path);
      return found->second;
    };
    probes.run = [this](const std::vector<std::string>& argv, const std::string& input,
                        bool isolated) -> base::Result<std::string> {
      const auto found = versions.find(argv[0]);
      if (found == versions.end()) {
        return base::fail(ErrorKind::missing, "{}: not found in PATH", argv[0]);
      }
      EXPECT_EQ(isolated, !input.empty()) << "rules are loaded in isolation, and nothing else is";
      if (!isolated) return found->second;
      RETURN_IF_ERROR(unless_refused("rules of " + argv[0]));
      return std::string();
    };
    probes.load = [this](const std::string& trial) { return unless_refused(trial); };
    probes.find_envoy = [this]() -> base::Result<std::string> {
      if (envoy.empty()) return base::fail_with_mend(ErrorKind::missing, "no Envoy", "get one");
      return envoy;
    };
    probes.make_namespace = [this](const std::string& kind) { return unless_refused(kind); };
    return probe_machine(probes);
  }

  [[nodiscard]] Feature feature(const std::string& name) const {
    const auto features = probe();
    const auto found = std::ranges::find(features, name, &Feature::name);
    EXPECT_NE(found, features.end()) << name;
    return found == features.end() ? Feature{} : *found;
  }
};

TEST(Doctor, FindsEverythingOnAMachineThatHasIt) {
  const auto features = FakeMachine{}.probe();
  std::set<std::string> names;
  for (const auto& feature : features) {
    EXPECT_EQ(feature.available, Available::yes) << feature.name << ": " << feature.detail;
    EXPECT_EQ(feature.mend, "") << feature.name;
    EXPECT_NE(feature.detail, "") << feature.name;
    EXPECT_NE(feature.needed_by, "") << feature.name;
    EXPECT_TRUE(names.insert(feature.name).second) << feature.name << " is there twice";
  }
  for (const auto* name : {"root", "network namespaces", "cgroup2", "ip", "nftables in the kernel",
                           "eBPF cgroup/getpeername6", "eBPF socket_filter", "eBPF tcx", "IPv6"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(Doctor, RequiresOnlyWhatEveryLabNeeds) {
  std::set<std::string> required;
  for (const auto& feature : FakeMachine{}.probe()) {
    if (feature.required) required.insert(feature.name);
  }
  EXPECT_EQ(required, (std::set<std::string>{"root", "network namespaces", "pid namespaces",
                                             "mount namespaces", "cgroup2", "ip"}));
}

TEST(Doctor, SaysWhereCgroupsAreAndWithWhatControllers) {
  FakeMachine machine;
  EXPECT_EQ(machine.feature("cgroup2").detail, "at /sys/fs/cgroup/unified, with hugetlb");
  EXPECT_EQ(machine.feature("cgroup v1 controllers").detail, "cpu,cpuacct, memory");
  machine.files["/sys/fs/cgroup/unified/cgroup.controllers"] = "\n";
  EXPECT_EQ(machine.feature("cgroup2").detail, "at /sys/fs/cgroup/unified, without controllers");
  machine.files["/proc/mounts"] = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
  const auto none = machine.feature("cgroup2");
  EXPECT_EQ(none.available, Available::no);
  EXPECT_THAT(none.mend, HasSubstr("mount -t cgroup2"));
  machine.files.erase("/proc/mounts");
  EXPECT_EQ(machine.feature("cgroup2").available, Available::unknown);
}

TEST(Doctor, WithoutRootSaysWhatCouldNotBeTried) {
  FakeMachine machine;
  machine.root = false;
  machine.refused = {{"cgroup/connect4", ErrorKind::not_permitted},
                     {"network", ErrorKind::not_permitted},
                     {"rules of nft", ErrorKind::not_permitted}};
  for (const auto* name :
       {"eBPF cgroup/connect4", "network namespaces", "nftables in the kernel"}) {
    const auto feature = machine.feature(name);
    EXPECT_EQ(feature.available, Available::unknown) << name;
    EXPECT_EQ(feature.detail, "not tried: needs root") << name;
    EXPECT_THAT(feature.mend, HasSubstr("as root")) << name;
  }
  const auto root = machine.feature("root");
  EXPECT_EQ(root.available, Available::no);
  EXPECT_THAT(root.mend, HasSubstr("sudo"));
}

TEST(Doctor, ARefusalToRootIsARefusal) {
  FakeMachine machine;
  machine.refused = {{"cgroup/connect4", ErrorKind::not_permitted}, {"fentry", ErrorKind::missing}};
  const auto forbidden = machine.feature("eBPF cgroup/connect4");
  EXPECT_EQ(forbidden.available, Available::no);
  EXPECT_THAT(forbidden.mend, HasSubstr("even to root"));
  const auto missing = machine.feature("eBPF fentry");
  EXPECT_EQ(missing.available, Available::no);
  EXPECT_EQ(missing.detail, "fentry: refused") << "the first line alone";
  EXPECT_THAT(missing.mend, HasSubstr("kernel"));
}

TEST(Doctor, NamesThePackageOfAMissingTool) {
  FakeMachine machine;
  machine.versions.erase("nft");
  const auto tool = machine.feature("nft");
  EXPECT_EQ(tool.available, Available::no);
  EXPECT_EQ(tool.detail, "nft: not found in PATH");
  EXPECT_EQ(tool.mend, "apt-get install nftables");
  EXPECT_EQ(machine.feature("nftables in the kernel").available, Available::no);
}

TEST(Doctor, SaysWhatAMeshTakesAndHowToGetIt) {
  FakeMachine machine;
  EXPECT_EQ(machine.feature("envoy").detail, "dc2d/1.36.4/Clean/RELEASE/BoringSSL");
  machine.versions.erase("/tools/envoy");
  EXPECT_EQ(machine.feature("envoy").available, Available::no);
  EXPECT_THAT(machine.feature("envoy").mend, HasSubstr("STACKBENCH_ENVOY"));
  machine.envoy.clear();
  const auto missing = machine.feature("envoy");
  EXPECT_EQ(missing.available, Available::no);
  EXPECT_FALSE(missing.required);
  EXPECT_EQ(missing.detail, "no Envoy");
  EXPECT_EQ(missing.mend, "get one");
  EXPECT_EQ(missing.needed_by, "environments with a mesh");
}

TEST(Doctor, SaysWhichKernelInterfaceIptablesSpeaks) {
  FakeMachine machine;
  EXPECT_THAT(machine.feature("iptables in the kernel").detail, HasSubstr("(backend nf_tables)"));
  machine.versions["iptables"] = "iptables v1.8.7 (legacy)\n";
  EXPECT_THAT(machine.feature("iptables in the kernel").detail, HasSubstr("(backend legacy)"));
  EXPECT_EQ(machine.feature("nft").detail, "nftables v1.0.6");
}

TEST(Doctor, JudgesTheMachine) {
  FakeMachine machine;
  machine.cpus = 1;
  machine.files["/proc/sys/net/ipv6/conf/all/disable_ipv6"] = "1\n";
  machine.files["/sys/devices/system/clocksource/clocksource0/current_clocksource"] = "hpet\n";
  EXPECT_EQ(machine.feature("two CPUs").available, Available::no);
  EXPECT_EQ(machine.feature("two CPUs").detail, "1 online");
  EXPECT_EQ(machine.feature("IPv6").detail, "switched off");
  EXPECT_EQ(machine.feature("clock source tsc").detail, "hpet");
  EXPECT_EQ(machine.feature("clock source tsc").available, Available::no);
}

TEST(Doctor, AFeatureIsReadBackAsWritten) {
  const auto feature = FakeMachine{}.feature("cgroup2");
  const auto json = base::to_json(feature);
  const auto back = base::from_json<Feature>(json);
  ASSERT_TRUE(back);
  EXPECT_EQ(base::to_json(*back), json);
  EXPECT_EQ(json.at("available"), "yes");
}

TEST(Doctor, RefusesATrialItDoesNotKnow) {
  const auto tried = try_bpf_program("kprobe");
  ASSERT_FALSE(tried);
  EXPECT_EQ(tried.error().kind, ErrorKind::input);
}

}  // namespace
}  // namespace cluster
