// How the cost of a datapath's hooks is measured, by the kernel's own count.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include <bpf/bpf.h>

#include "base/bpf/bpf.h"
#include "base/fd.h"
#include "base/json.h"

namespace cluster {

// A program that does nothing, at the same hook: what the statistics themselves cost there.
class EmptyProgram {
 public:
  // `where`: a cgroup's descriptor or an interface's index, as the hook wants it. `verdict` lets
  // things go on.
  static base::Result<EmptyProgram> attach(bpf_prog_type type, bpf_attach_type hook, int where,
                                           int verdict) {
    const std::array<bpf_insn, 2> proceed{{
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = verdict},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
    }};
    bpf_prog_load_opts options{};
    options.sz = sizeof(options);
    options.expected_attach_type = hook;
    EmptyProgram made;
    made.program_.reset(
        ::bpf_prog_load(type, "empty", "GPL", proceed.data(), proceed.size(), &options));
    if (!made.program_) return base::system_error(errno, "load an empty program");
    made.link_.reset(::bpf_link_create(made.program_.get(), where, hook, nullptr));
    if (!made.link_) return base::system_error(errno, "attach an empty program");
    return made;
  }
  [[nodiscard]] base::ProgramCost cost() const {
    return base::program_cost(program_.get()).value();
  }

 private:
  base::UniqueFd program_;
  base::UniqueFd link_;
};

inline base::ProgramCost cost_of(const base::Json& facts, const std::string& hook) {
  const auto& cost = facts.at("hooks").at(hook);
  return {.run_count = cost.at("run_count").get<std::uint64_t>(),
          .run_time_ns = cost.at("run_time_ns").get<std::uint64_t>()};
}

inline double per_run(const base::ProgramCost& before, const base::ProgramCost& after) {
  return static_cast<double>(after.run_time_ns - before.run_time_ns) /
         static_cast<double>(after.run_count - before.run_count);
}

// The statistics bill a preempted program for the time it did not run, so the cheapest of many
// rounds is the program's cost and the dearer ones are the machine's.
inline void keep_least(std::map<std::string, double>& least, const std::string& hook,
                       double value) {
  const auto [kept, is_first] = least.emplace(hook, value);
  if (!is_first) kept->second = std::min(kept->second, value);
}

}  // namespace cluster
