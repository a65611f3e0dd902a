// The machine's fingerprint: what must be equal for two measurements to be comparable, and what a
// reader needs to judge one. Read from /proc and /sys alone; what is missing there stays empty.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/describe.h"

namespace base {

struct Machine {
  std::string kernel;              // "6.1.0-25-amd64"
  std::string kernel_build;        // "#1 SMP PREEMPT_DYNAMIC Debian 6.1.106-3 (2024-08-26)"
  std::string architecture;        // "x86_64"
  std::string os;                  // "Debian GNU/Linux 12 (bookworm)"
  std::string cpu_model;           // "AMD EPYC 7763 64-Core Processor"
  int cpus = 0;                    // online
  bool smt = false;                // two threads of one core are online
  std::uint64_t memory_bytes = 0;  // MemTotal
  std::string clocksource;         // "tsc"
  std::string virtualisation;      // "kvm", "unknown hypervisor"; empty: none seen
  std::string cpu_governor;        // "performance"; empty in most virtual machines
  std::string congestion_control;  // of the machine; a lab sets its own
  std::string boot_id;
  std::map<std::string, std::string> mitigations;  // CPU faults this CPU has, and what is done

  bool operator==(const Machine&) const = default;
};

template <typename Visit, SelfOf<Machine> Self>
void describe(Visit& visit, Self& self) {
  visit("kernel", self.kernel, {.doc = "Kernel release."});
  visit("kernel_build", self.kernel_build, {.doc = "Kernel build."});
  visit("architecture", self.architecture, {.doc = "Instruction set."});
  visit("os", self.os, {.doc = "Distribution."});
  visit("cpu_model", self.cpu_model, {.doc = "CPU model."});
  visit("cpus", self.cpus, {.doc = "CPUs online.", .at_least = 0});
  visit("smt", self.smt, {.doc = "Whether two threads of one core are online."});
  visit("memory_bytes", self.memory_bytes, {.doc = "Memory the kernel manages."});
  visit("clocksource", self.clocksource, {.doc = "What CLOCK_MONOTONIC reads."});
  visit("virtualisation", self.virtualisation,
        {.doc = "The hypervisor; empty where none is seen."});
  visit("cpu_governor", self.cpu_governor, {.doc = "CPU frequency governor of the first CPU."});
  visit("congestion_control", self.congestion_control,
        {.doc = "TCP congestion control of the machine; a lab sets its own."});
  visit("boot_id", self.boot_id, {.doc = "Boot: CLOCK_MONOTONIC stamps compare within one."});
  visit("mitigations", self.mitigations,
        {.doc = "CPU vulnerabilities that apply here and how the kernel mitigates them: they price "
                "every system call."});
}

// Reads the fingerprint below `root` ("/"; a directory with made-up proc, sys and etc in tests).
// Never fails: what cannot be read is empty or 0. Any thread.
[[nodiscard]] Machine collect_machine(const std::string& root = "/");

}  // namespace base
