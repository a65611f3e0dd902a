// The doctor's eBPF trials: two instructions each, put where the real programs go.
#include <algorithm>
#include <array>
#include <optional>
#include <thread>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sched.h>

#include "base/bpf/bpf.h"
#include "base/fd.h"
#include "cluster/lab/doctor.h"

namespace cluster {
namespace {

// Where a program must also be attached to know that it works.
enum class Attach { no, raw_tracepoint, tracing, tcx };

// Headers of Debian 12 do not have it yet; the kernel does from 6.6 on.
constexpr auto tcx_ingress = static_cast<bpf_attach_type>(46);

struct Recipe {
  std::string_view name;
  bpf_prog_type type;
  std::optional<bpf_attach_type> expected = {};
  int returns = 0;
  Attach attach = Attach::no;
  std::string_view target = {};  // a kernel function or tracepoint
  std::string_view needed_by;
};

constexpr std::string_view sockets = "datapath ebpf_socket";
constexpr std::string_view check = "check translated_at";
constexpr std::string_view packets = "datapaths ebpf_tc and ebpf_socket, NetworkPolicy in a lab";
constexpr std::string_view unused = "no shipped scenario";

constexpr std::array recipes{
    Recipe{.name = "socket_filter", .type = BPF_PROG_TYPE_SOCKET_FILTER, .needed_by = check},
    Recipe{.name = "cgroup/connect4",
           .type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
           .expected = BPF_CGROUP_INET4_CONNECT,
           .returns = 1,
           .needed_by = sockets},
    Recipe{.name = "cgroup/connect6",
           .type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
           .expected = BPF_CGROUP_INET6_CONNECT,
           .returns = 1,
           .needed_by = sockets},
    Recipe{.name = "cgroup/sendmsg4",
           .type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
           .expected = BPF_CGROUP_UDP4_SENDMSG,
           .returns = 1,
           .needed_by = sockets},
    Recipe{.name = "cgroup/sendmsg6",
           .type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
           .expected = BPF_CGROUP_UDP6_SENDMSG,
           .returns = 1,
           .needed_by = sockets},
    Recipe{.name = "cgroup/recvmsg4",
           .type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
           .expected = BPF_CGROUP_UDP4_RECVMSG,
           .returns = 1,
           .needed_by = sockets},
    Recipe{.name = "cgroup/recvmsg6",
           .type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
           .expected = BPF_CGROUP_UDP6_RECVMSG,
           .returns = 1,
           .needed_by = sockets},
    Recipe{.name = "cgroup/getpeername4",
           .type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
           .expected = BPF_CGROUP_INET4_GETPEERNAME,
           .returns = 1,
           .needed_by = sockets},
    Recipe{.name = "cgroup/getpeername6",
           .type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
           .expected = BPF_CGROUP_INET6_GETPEERNAME,
           .returns = 1,
           .needed_by = sockets},
    Recipe{.name = "sched_cls", .type = BPF_PROG_TYPE_SCHED_CLS, .needed_by = packets},
    Recipe{.name = "tcx",
           .type = BPF_PROG_TYPE_SCHED_CLS,
           .returns = -1,
           .attach = Attach::tcx,
           .needed_by = packets},
    Recipe{.name = "xdp", .type = BPF_PROG_TYPE_XDP, .returns = 2, .needed_by = unused},
    Recipe{.name = "sockops", .type = BPF_PROG_TYPE_SOCK_OPS, .returns = 1, .needed_by = unused},
    Recipe{.name = "raw_tp",
           .type = BPF_PROG_TYPE_RAW_TRACEPOINT,
           .attach = Attach::raw_tracepoint,
           .target = "sched_process_exit",
           .needed_by = unused},
    Recipe{.name = "tp_btf",
           .type = BPF_PROG_TYPE_TRACING,
           .expected = BPF_TRACE_RAW_TP,
           .attach = Attach::tracing,
           .target = "sched_process_exit",
           .needed_by = unused},
    Recipe{.name = "fentry",
           .type = BPF_PROG_TYPE_TRACING,
           .expected = BPF_TRACE_FENTRY,
           .attach = Attach::tracing,
           .target = "tcp_v4_connect",
           .needed_by = unused},
    Recipe{.name = "iter/tcp",
           .type = BPF_PROG_TYPE_TRACING,
           .expected = BPF_TRACE_ITER,
           .target = "tcp",
           .needed_by = unused},
};

base::Result<base::UniqueFd> load(const Recipe& recipe) {
  const base::BpfMessages messages;
  const std::array<bpf_insn, 2> program{{
      {.code = BPF_ALU64 | BPF_MOV | BPF_K,
       .dst_reg = 0,
       .src_reg = 0,
       .off = 0,
       .imm = recipe.returns},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  }};
  bpf_prog_load_opts options{};
  options.sz = sizeof(options);
  if (recipe.expected) options.expected_attach_type = *recipe.expected;
  if (recipe.type == BPF_PROG_TYPE_TRACING && recipe.expected) {
    const int id =
        ::libbpf_find_vmlinux_btf_id(std::string(recipe.target).c_str(), *recipe.expected);
    if (id < 0)
      return messages.error(id, fmt::format("find {} in the kernel's BTF", recipe.target));
    options.attach_btf_id = static_cast<__u32>(id);
  }
  base::UniqueFd loaded(
      ::bpf_prog_load(recipe.type, "doctor", "GPL", program.data(), program.size(), &options));
  if (!loaded) return messages.error(errno, "load");
  return loaded;
}

// Attaches to the loopback interface of a network namespace that is made for it and ends with the
// thread in it.
base::Result<> attach_tcx(int program) {
  base::Result<> outcome;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      outcome = base::system_error(errno, "make a network namespace");
      return;
    }
    constexpr int loopback = 1;  // the first interface of every network namespace
    const base::UniqueFd link(::bpf_link_create(program, loopback, tcx_ingress, nullptr));
    if (!link) outcome = base::system_error(errno, "attach");
  }).join();
  return outcome;
}

base::Result<> attach_tracepoint(const char* name, int program) {
  const base::UniqueFd link(::bpf_raw_tracepoint_open(name, program));
  if (!link) return base::system_error(errno, "attach");
  return {};
}

}  // namespace

std::vector<BpfTrial> bpf_trials() {
  std::vector<BpfTrial> trials;
  trials.reserve(recipes.size());
  for (const auto& recipe : recipes) {
    trials.push_back(
        {.name = std::string(recipe.name), .needed_by = std::string(recipe.needed_by)});
  }
  return trials;
}

base::Result<> try_bpf_program(const std::string& trial) {
  const auto recipe = std::ranges::find(recipes, trial, &Recipe::name);
  if (recipe == recipes.end()) {
    return base::fail(base::ErrorKind::input, "no eBPF trial is called {}", trial);
  }
  ASSIGN_OR_RETURN(const auto program, load(*recipe));
  switch (recipe->attach) {
    case Attach::no:
      return {};
    case Attach::raw_tracepoint:
      return attach_tracepoint(std::string(recipe->target).c_str(), program.get());
    case Attach::tracing:
      return attach_tracepoint(nullptr, program.get());
    case Attach::tcx:
      return attach_tcx(program.get());
  }
  return {};
}

}  // namespace cluster
