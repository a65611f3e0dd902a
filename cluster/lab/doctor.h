// What this machine can do for a lab: every kernel feature and tool that stackbench uses is asked
// for itself, by trying it, never by a version number. Nothing it tries outlives the question:
// programs are loaded and let go, namespaces and rules are made in a child that ends.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cluster/feature.h"

namespace cluster {

// An eBPF program that is really loaded, and attached where that is another question.
struct BpfTrial {
  std::string name;  // "cgroup/connect4"
  std::string needed_by;
};

// How the machine is asked; tests put a made-up one in its place. Every member must be set.
struct MachineProbes {
  bool root = false;
  unsigned cpus = 0;
  // A whole file. Errors: missing, not_permitted.
  std::function<base::Result<std::string>(const std::string& path)> read;
  // A tool's stdout. `isolated`: in network and mount namespaces of its own, with an empty /run, so
  // that it may load rules. Errors: missing (no such tool), not_permitted, system.
  std::function<base::Result<std::string>(const std::vector<std::string>& argv,
                                          const std::string& input, bool isolated)>
      run;
  // Loads (and attaches) a tiny program of this name. Errors: not_permitted, missing, system.
  std::function<base::Result<>(const std::string& trial)> load;
  // Makes a namespace in a child that ends: "network", "pid", "mount". Errors: not_permitted,
  // system.
  std::function<base::Result<>(const std::string& kind)> make_namespace;
  // Where the proxy's program is. Errors: missing.
  std::function<base::Result<std::string>()> find_envoy;
};

// Everything, in the order a reader asks: privileges, kernel, eBPF, cgroups, tools, the machine.
// Never fails; what cannot be tried is `unknown` and says why. Takes about a second.
[[nodiscard]] std::vector<Feature> probe_machine();
[[nodiscard]] std::vector<Feature> probe_machine(const MachineProbes& probes);

// The programs that are tried, in their order.
[[nodiscard]] std::vector<BpfTrial> bpf_trials();

// Loads, and attaches where a load proves little, a program that does nothing (doctor_bpf.cc).
// Errors: not_permitted, missing (the kernel refuses), system, input (no trial of that name).
[[nodiscard]] base::Result<> try_bpf_program(const std::string& trial);

}  // namespace cluster
