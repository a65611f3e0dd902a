// The little that every eBPF program of ours needs around libbpf: its messages kept instead of
// printed, skeletons as owned handles, errors that carry the verifier's last words, and the
// kernel's run-time statistics. libbpf is used by rooms directly; only these parts are shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/fd.h"
#include "base/result.h"

namespace base {

// Keeps what libbpf says on this thread while it lives, instead of letting it print to stderr.
// One at a time per thread; libbpf's own hook is set once for the process.
class BpfMessages {
 public:
  BpfMessages();
  ~BpfMessages();
  BpfMessages(const BpfMessages&) = delete;
  BpfMessages& operator=(const BpfMessages&) = delete;

  // The last lines said so far, at most 12, joined by newlines; empty when libbpf said nothing.
  [[nodiscard]] std::string last_lines() const;

  // The error for a failed libbpf call: `code` is its negative (or positive) errno. EPERM and
  // EACCES become not_permitted unless a verifier log was seen (a refused program answers EACCES
  // too), that and EINVAL, ENOTSUPP, EOPNOTSUPP become missing: the kernel does not take it.
  [[nodiscard]] std::unexpected<Error> error(int code, const std::string& what) const;
};

// A skeleton made by bpftool (stackbench_probe in cmake/probe.cmake), destroyed with its maps,
// programs and links. Works with the skeleton's forward declaration alone, in a header.
template <typename Skeleton>
struct DestroySkeleton {
  void operator()(Skeleton* skeleton) const { Skeleton::destroy(skeleton); }
};
template <typename Skeleton>
using UniqueSkeleton = std::unique_ptr<Skeleton, DestroySkeleton<Skeleton>>;

// The skeleton opened: its constants can be set, nothing is in the kernel yet. Errors: missing,
// system.
template <typename Skeleton>
[[nodiscard]] Result<UniqueSkeleton<Skeleton>> open_skeleton(const std::string& name) {
  const BpfMessages messages;
  UniqueSkeleton<Skeleton> skeleton(Skeleton::open());
  if (!skeleton) return messages.error(errno, name + ": open");
  return skeleton;
}

// Loads maps and programs into the kernel. Errors: not_permitted, missing (with the verifier's last
// words), system.
template <typename Skeleton>
[[nodiscard]] Result<> load_skeleton(Skeleton& skeleton, const std::string& name) {
  const BpfMessages messages;
  if (const int code = Skeleton::load(&skeleton); code != 0) {
    return messages.error(code, name + ": load");
  }
  return {};
}

// Key 0 of a per-CPU map whose values are `Value`: one for every possible CPU, in their order.
// `what` leads the error: "ebpf_tc: read the counters". Errors: system.
template <typename Value>
[[nodiscard]] Result<std::vector<Value>> read_per_cpu(int map_fd, const std::string& what) {
  const int cpus = ::libbpf_num_possible_cpus();
  if (cpus <= 0) return system_error(-cpus, "count the possible CPUs");
  std::vector<Value> values(static_cast<std::size_t>(cpus));
  const std::uint32_t key = 0;
  if (::bpf_map_lookup_elem(map_fd, &key, values.data()) != 0) {
    return system_error(errno, "{}", what);
  }
  return values;
}

// What the kernel counted for one program while statistics were on.
struct ProgramCost {
  std::uint64_t run_count = 0;
  std::uint64_t run_time_ns = 0;  // includes the cost of about one clock read per run
};

// Turns the kernel's run-time statistics of eBPF programs on for as long as the descriptor lives
// (machine-wide; other holders are not disturbed). Costs every program two clock reads per run, so
// hold it where cost is reported, not in a measured window that must be clean.
// Errors: not_permitted (CAP_SYS_ADMIN), missing (before Linux 5.8).
[[nodiscard]] Result<UniqueFd> enable_program_statistics();

// The counts of the program behind `program_fd`, from its load until now. Errors: system.
[[nodiscard]] Result<ProgramCost> program_cost(int program_fd);

}  // namespace base
