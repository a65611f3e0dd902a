#include "base/machine.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "base/json.h"

namespace base {
namespace {

// A directory that stands for "/", removed at the end.
class FakeRoot {
 public:
  FakeRoot() {
    std::string pattern = (std::filesystem::temp_directory_path() / "machine_test.XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;
  ~FakeRoot() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  void write(std::string_view name, std::string_view content) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << content;
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST(Machine, IsReadFromProcAndSys) {
  const FakeRoot root;
  root.write("proc/sys/kernel/osrelease", "6.1.0-25-amd64\n");
  root.write("proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.106-3\n");
  root.write("proc/sys/kernel/arch", "x86_64\n");
  root.write("proc/sys/kernel/random/boot_id", "0f0e0d0c-1111-2222-3333-444455556666\n");
  root.write("proc/sys/net/ipv4/tcp_congestion_control", "cubic\n");
  root.write("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
  root.write("proc/cpuinfo",
             "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t\t: fpu hypervisor tsc\n"
             "processor\t: 1\nmodel name\t: Another CPU\n");
  root.write("proc/meminfo", "MemTotal:       2048 kB\nMemFree:        1 kB\n");
  root.write("sys/devices/system/cpu/online", "0-2,5\n");
  root.write("sys/devices/system/cpu/smt/active", "1\n");
  root.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
  root.write("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
  root.write("sys/devices/system/clocksource/clocksource0/available_clocksource",
             "tsc kvm-clock \n");
  root.write("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n");
  root.write("sys/devices/system/cpu/vulnerabilities/spectre_v2", "Mitigation: IBRS\n");

  const Machine machine = collect_machine(root.path());
  const Machine expected{
      .kernel = "6.1.0-25-amd64",
      .kernel_build = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.106-3",
      .architecture = "x86_64",
      .os = "Debian GNU/Linux 12 (bookworm)",
      .cpu_model = "Some CPU @ 2.00GHz",
      .cpus = 4,
      .smt = true,
      .memory_bytes = std::uint64_t{2048} * 1024,
      .clocksource = "tsc",
      .virtualisation = "kvm",
      .cpu_governor = "performance",
      .congestion_control = "cubic",
      .boot_id = "0f0e0d0c-1111-2222-3333-444455556666",
      .mitigations = {{"spectre_v2", "Mitigation: IBRS"}},
  };
  EXPECT_EQ(dump_json_pretty(to_json(machine)), dump_json_pretty(to_json(expected)));
}

TEST(Machine, WhatIsMissingIsEmpty) {
  const FakeRoot root;
  EXPECT_EQ(collect_machine(root.path()), Machine{});
}

TEST(Machine, AnUnnamedHypervisorIsStillOne) {
  const FakeRoot root;
  root.write("proc/cpuinfo", "flags\t\t: fpu hypervisor\n");
  EXPECT_EQ(collect_machine(root.path()).virtualisation, "unknown hypervisor");
  root.write("sys/class/dmi/id/sys_vendor", "QEMU\n");
  EXPECT_EQ(collect_machine(root.path()).virtualisation, "QEMU");
  root.write("sys/hypervisor/type", "xen\n");
  EXPECT_EQ(collect_machine(root.path()).virtualisation, "xen");
}

TEST(Machine, BareMetalHasNoHypervisor) {
  const FakeRoot root;
  root.write("proc/cpuinfo", "flags\t\t: fpu tsc\n");
  root.write("sys/class/dmi/id/sys_vendor", "Maker of Servers\n");
  EXPECT_EQ(collect_machine(root.path()).virtualisation, "");
}

TEST(Machine, ThisOneHasAKernelAndCpus) {
  const Machine machine = collect_machine();
  EXPECT_FALSE(machine.kernel.empty());
  EXPECT_GE(machine.cpus, 1);
  EXPECT_GT(machine.memory_bytes, 0u);
}

}  // namespace
}  // namespace base
