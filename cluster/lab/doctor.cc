#include "cluster/lab/doctor.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <thread>
#include <utility>

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "cluster/fabric/init.h"
#include "cluster/lab/mesh/find_envoy.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;

constexpr std::string_view run_as_root = "Run the same command as root, for example with sudo.";

std::string first_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

// A feature from an attempt: what was refused for want of privilege to someone who is not root is
// not known to be missing.
Feature tried(const MachineProbes& probes, Feature feature, const Result<>& attempt) {
  if (attempt) {
    feature.available = Available::yes;
    feature.mend.clear();
    if (feature.detail.empty()) feature.detail = "works";
    return feature;
  }
  const auto& error = attempt.error();
  feature.detail = first_line(error.message);
  if (!error.mend.empty()) feature.mend = error.mend;
  if (error.kind == ErrorKind::not_permitted && !probes.root) {
    feature.available = Available::unknown;
    feature.detail = "not tried: needs root";
    feature.mend = run_as_root;
    return feature;
  }
  feature.available = Available::no;
  if (error.kind == ErrorKind::not_permitted) {
    feature.mend =
        "The kernel, or a sandbox around this shell, refuses it even to root; the machine itself "
        "may "
        "not.";
  }
  return feature;
}

Feature root_feature(const MachineProbes& probes) {
  return {.name = "root",
          .available = probes.root ? Available::yes : Available::no,
          .required = true,
          .detail = probes.root ? "effective user 0" : "not root",
          .needed_by = "every lab",
          .mend = probes.root ? "" : std::string(run_as_root)};
}

void add_namespaces(const MachineProbes& probes, std::vector<Feature>& features) {
  for (const auto* kind : {"network", "pid", "mount"}) {
    features.push_back(
        tried(probes,
              {.name = fmt::format("{} namespaces", kind),
               .available = Available::unknown,
               .required = true,
               .detail = "",
               .needed_by = "every lab",
               .mend = "Use a kernel with namespaces, outside a sandbox that forbids "
                       "unshare(2)."},
              probes.make_namespace(kind)));
  }
}

Feature file_feature(const MachineProbes& probes, Feature feature, const std::string& path) {
  const auto content = probes.read(path);
  feature.available = content ? Available::yes : Available::no;
  feature.detail = content ? path : first_line(content.error().message);
  if (content) feature.mend.clear();
  return feature;
}

void add_bpf(const MachineProbes& probes, std::vector<Feature>& features) {
  features.push_back(file_feature(probes,
                                  {.name = "kernel type information (BTF)",
                                   .available = Available::unknown,
                                   .required = false,
                                   .detail = "",
                                   .needed_by = "building and loading eBPF programs",
                                   .mend = "Use a kernel built with CONFIG_DEBUG_INFO_BTF."},
                                  "/sys/kernel/btf/vmlinux"));
  for (const auto& trial : bpf_trials()) {
    features.push_back(tried(probes,
                             {.name = "eBPF " + trial.name,
                              .available = Available::unknown,
                              .required = false,
                              .detail = "",
                              .needed_by = trial.needed_by,
                              .mend = "Use a kernel that has this program type."},
                             probes.load(trial.name)));
  }
}

struct Mount {
  std::string place;
  std::string kind;
  std::string options;
};

std::vector<Mount> parse_mounts(const std::string& text) {
  std::vector<Mount> mounts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string device;
    Mount mount;
    if (words >> device >> mount.place >> mount.kind >> mount.options) mounts.push_back(mount);
  }
  return mounts;
}

// The controllers of a v1 hierarchy are among its mount options, between those of any file system.
std::string controllers_of(const Mount& mount) {
  std::string controllers;
  std::istringstream options(mount.options);
  for (std::string option; std::getline(options, option, ',');) {
    static constexpr std::array known{"cpu",      "cpuacct", "cpuset",     "memory", "blkio",
                                      "devices",  "freezer", "perf_event", "pids",   "net_cls",
                                      "net_prio", "hugetlb", "rdma"};
    if (std::ranges::find(known, option) == known.end()) continue;
    if (!controllers.empty()) controllers += ',';
    controllers += option;
  }
  return controllers;
}

void add_mounts(const MachineProbes& probes, std::vector<Feature>& features) {
  const auto text = probes.read("/proc/mounts");
  const auto mounts = text ? parse_mounts(*text) : std::vector<Mount>{};
  Feature version2{.name = "cgroup2",
                   .available = text ? Available::no : Available::unknown,
                   .required = true,
                   .detail = text ? "not mounted" : first_line(text.error().message),
                   .needed_by = "every lab: pods have cgroups of their own",
                   .mend = "mount -t cgroup2 none /sys/fs/cgroup/unified"};
  Feature version1{.name = "cgroup v1 controllers",
                   .available = text ? Available::no : Available::unknown,
                   .required = false,
                   .detail = text ? "none: cgroup2 has them" : first_line(text.error().message),
                   .needed_by = "CPU and memory figures where cgroup2 lacks the controllers",
                   .mend = ""};
  Feature bpffs{.name = "bpffs",
                .available = text ? Available::no : Available::unknown,
                .required = false,
                .detail = text ? "not mounted" : first_line(text.error().message),
                .needed_by = "nothing: no program of ours is pinned",
                .mend = ""};
  std::string controllers;
  for (const auto& mount : mounts) {
    if (mount.kind == "cgroup2" && version2.available != Available::yes) {
      version2.available = Available::yes;
      version2.mend.clear();
      version2.detail = "at " + mount.place;
      const auto own = probes.read(mount.place + "/cgroup.controllers");
      if (own) {
        const auto names = first_line(*own);
        version2.detail += names.empty() ? ", without controllers" : ", with " + names;
      }
    } else if (mount.kind == "cgroup") {
      const auto names = controllers_of(mount);
      if (!names.empty()) controllers += (controllers.empty() ? "" : ", ") + names;
    } else if (mount.kind == "bpf") {
      bpffs.available = Available::yes;
      bpffs.detail = "at " + mount.place;
    }
  }
  if (!controllers.empty()) {
    version1.available = Available::yes;
    version1.detail = controllers;
  }
  features.push_back(std::move(version2));
  features.push_back(std::move(version1));
  features.push_back(std::move(bpffs));
}

struct Tool {
  std::string_view name;
  std::string_view version_option;
  bool required;
  std::string_view needed_by;
  std::string_view package;  // Debian's
};

constexpr std::array tools{
    Tool{"ip", "-V", true, "every lab", "iproute2"},
    Tool{"nft", "-v", false, "datapath nftables", "nftables"},
    Tool{"iptables", "-V", false, "datapath iptables, environments with a mesh", "iptables"},
    Tool{"ip6tables", "-V", false, "datapath iptables", "iptables"},
    Tool{"iptables-restore", "-V", false, "datapath iptables, environments with a mesh",
         "iptables"},
    Tool{"ip6tables-restore", "-V", false, "datapath iptables", "iptables"},
    Tool{"bpftool", "version", false, "building stackbench, and looking at its programs",
         "bpftool"},
};

void add_tools(const MachineProbes& probes, std::vector<Feature>& features) {
  for (const auto& tool : tools) {
    Feature feature{.name = std::string(tool.name),
                    .available = Available::no,
                    .required = tool.required,
                    .detail = "",
                    .needed_by = std::string(tool.needed_by),
                    .mend = fmt::format("apt-get install {}", tool.package)};
    const auto version =
        probes.run({std::string(tool.name), std::string(tool.version_option)}, "", false);
    if (version) {
      feature.available = Available::yes;
      feature.mend.clear();
      feature.detail = first_line(*version);
    } else {
      feature.detail = first_line(version.error().message);
    }
    features.push_back(std::move(feature));
  }
}

// The smallest rules that use what the datapaths use, loaded where nobody sees them.
constexpr std::string_view nft_rules = R"(table ip doctor {
  chain backend { ip protocol tcp dnat to 10.244.1.2:7001; }
  chain output {
    type nat hook output priority -100;
    ip daddr 10.96.0.1 tcp dport 8001 numgen random mod 2 vmap { 0 : goto backend, 1 : goto backend }
  }
}
)";
constexpr std::string_view iptables_rules = R"(*nat
:DOCTOR - [0:0]
-A DOCTOR -m statistic --mode random --probability 0.5 -j RETURN
-A DOCTOR -p tcp -m comment --comment doctor -j DNAT --to-destination 10.244.1.2:7001
-A OUTPUT -d 10.96.0.1/32 -p tcp -m tcp --dport 8001 -j DOCTOR
COMMIT
)";

// "PATH  version: HASH/1.36.4/Clean/RELEASE/BoringSSL".
Result<std::string> envoy_version(const MachineProbes& probes) {
  ASSIGN_OR_RETURN(const auto program, probes.find_envoy());
  ASSIGN_OR_RETURN(const auto said, probes.run({program, "--version"}, "", false));
  constexpr std::string_view before = "version: ";
  const auto at = said.find(before);
  return first_line(at == said.npos ? said : said.substr(at + before.size()));
}

void add_envoy(const MachineProbes& probes, std::vector<Feature>& features) {
  Feature envoy{.name = "envoy",
                .available = Available::unknown,
                .required = false,
                .detail = "",
                .needed_by = "environments with a mesh",
                .mend =
                    "The one that is there does not run: let ./bootstrap unpack it anew, or "
                    "name another in STACKBENCH_ENVOY."};
  const auto version = envoy_version(probes);
  if (version) envoy.detail = *version;
  features.push_back(
      tried(probes, envoy, version ? Result<>() : Result<>(std::unexpected(version.error()))));
}

void add_rules(const MachineProbes& probes, std::vector<Feature>& features) {
  const auto load = [&](const std::vector<std::string>& argv, std::string_view rules) -> Result<> {
    RETURN_IF_ERROR(probes.run(argv, std::string(rules), true));
    return {};
  };
  features.push_back(
      tried(probes,
            {.name = "nftables in the kernel",
             .available = Available::unknown,
             .required = false,
             .detail = "nat, numgen and verdict maps load",
             .needed_by = "datapath nftables",
             .mend = "Load nf_tables, nft_chain_nat and nft_numgen, and install nft."},
            load({"nft", "-f", "-"}, nft_rules)));
  auto iptables = tried(probes,
                        {.name = "iptables in the kernel",
                         .available = Available::unknown,
                         .required = false,
                         .detail = "nat, statistic and comment load",
                         .needed_by = "datapath iptables",
                         .mend = "Load ip_tables (or nf_tables and nft_compat), iptable_nat and "
                                 "xt_statistic, and install iptables."},
                        load({"iptables-restore"}, iptables_rules));
  // "iptables v1.8.9 (nf_tables)": which of the two kernel interfaces the tool speaks.
  if (const auto version = probes.run({"iptables", "-V"}, "", false); version) {
    const auto backend = version->find("nf_tables") != std::string::npos ? "nf_tables" : "legacy";
    iptables.detail += fmt::format(" (backend {})", backend);
  }
  features.push_back(std::move(iptables));
}

void add_machine(const MachineProbes& probes, std::vector<Feature>& features) {
  features.push_back(
      file_feature(probes,
                   {.name = "connection tracking",
                    .available = Available::unknown,
                    .required = false,
                    .detail = "",
                    .needed_by = "datapaths iptables and nftables, check translated_at",
                    .mend = "modprobe nf_conntrack"},
                   "/proc/sys/net/netfilter/nf_conntrack_count"));

  const auto disabled = probes.read("/proc/sys/net/ipv6/conf/all/disable_ipv6");
  const bool ipv6 = disabled && disabled->starts_with('0');
  features.push_back({.name = "IPv6",
                      .available = ipv6 ? Available::yes : Available::no,
                      .required = false,
                      .detail = !disabled ? "not in this kernel"
                                : ipv6    ? "on"
                                          : "switched off",
                      .needed_by = "scenarios with family ipv6",
                      .mend = ipv6 ? "" : "sysctl net.ipv6.conf.all.disable_ipv6=0"});

  const auto clock =
      probes.read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  const bool tsc = clock && first_line(*clock) == "tsc";
  features.push_back({.name = "clock source tsc",
                      .available = !clock ? Available::unknown
                                   : tsc  ? Available::yes
                                          : Available::no,
                      .required = false,
                      .detail = clock ? first_line(*clock) : first_line(clock.error().message),
                      .needed_by = "time stamps without a system call",
                      .mend = tsc ? "" : "Stamps cost more here; small latencies read larger."});

  const bool enough = probes.cpus >= 2;
  features.push_back({.name = "two CPUs",
                      .available = enough ? Available::yes : Available::no,
                      .required = false,
                      .detail = fmt::format("{} online", probes.cpus),
                      .needed_by = "client and server on cores of their own",
                      .mend = enough ? "" : "On one CPU latency is oversubscribed and not gated."});
}

// Runs in the child, before the tool: rules, locks and anything else it leaves go with it.
Result<> isolate() {
  if (::unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return base::system_error(errno, "unshare");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") != 0) {
    return base::system_error(errno, "a private /run");
  }
  return {};
}

Result<> make_namespace(const std::string& kind) {
  const int flag = kind == "network" ? CLONE_NEWNET : kind == "pid" ? CLONE_NEWPID : CLONE_NEWNS;
  const pid_t child = ::fork();
  if (child < 0) return base::system_error(errno, "fork");
  if (child == 0) {
    const bool made =
        ::unshare(flag) == 0 &&
        (flag != CLONE_NEWNS || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    ::_exit(made ? 0 : errno);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return base::system_error(errno, "wait for a child");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
  auto error = base::system_error(code, "unshare");
  if (flag == CLONE_NEWNS && code == EINVAL) error.error().mend = root_is_no_mount;
  return error;
}

}  // namespace

std::vector<Feature> probe_machine(const MachineProbes& probes) {
  std::vector<Feature> features{root_feature(probes)};
  add_namespaces(probes, features);
  add_mounts(probes, features);
  add_tools(probes, features);
  add_envoy(probes, features);
  add_rules(probes, features);
  add_bpf(probes, features);
  add_machine(probes, features);
  return features;
}

std::vector<Feature> probe_machine() {
  MachineProbes probes;
  probes.root = ::geteuid() == 0;
  probes.cpus = std::thread::hardware_concurrency();
  probes.read = [](const std::string& path) { return base::read_file(path); };
  probes.run = [](const std::vector<std::string>& argv, const std::string& input, bool isolated) {
    base::RunOptions options{.stdin_text = input, .timeout = std::chrono::seconds(10)};
    if (isolated) options.before_exec = isolate;
    return base::run_for_output(argv, options);
  };
  probes.load = try_bpf_program;
  probes.make_namespace = make_namespace;
  probes.find_envoy = find_envoy;
  return probe_machine(probes);
}

}  // namespace cluster
