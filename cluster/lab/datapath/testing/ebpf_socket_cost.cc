// What the hooks of ebpf_socket cost, by the kernel's own count. Timing, so not one of the tests:
// bench/peers/compare runs it and holds what it prints against the goal.
#include <algorithm>
#include <map>

#include <bpf/bpf.h>
#include <fcntl.h>

#include "base/bpf/bpf.h"
#include "cluster/lab/datapath/testing/ebpf_socket_fixture.h"

namespace cluster {
namespace {

// A program that does nothing, at the same hook: what the statistics themselves cost there.
class EmptyProgram {
 public:
  static base::Result<EmptyProgram> attach(bpf_attach_type hook, const std::string& cgroup) {
    const std::array<bpf_insn, 2> proceed{{
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 1},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
    }};
    bpf_prog_load_opts options{};
    options.sz = sizeof(options);
    options.expected_attach_type = hook;
    EmptyProgram made;
    made.program_.reset(::bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "empty", "GPL",
                                        proceed.data(), proceed.size(), &options));
    if (!made.program_) return base::system_error(errno, "load an empty program");
    const base::UniqueFd directory(::open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    made.link_.reset(::bpf_link_create(made.program_.get(), directory.get(), hook, nullptr));
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

base::ProgramCost cost_of(const base::Json& facts, const std::string& hook) {
  const auto& cost = facts.at("hooks").at(hook);
  return {.run_count = cost.at("run_count").get<std::uint64_t>(),
          .run_time_ns = cost.at("run_time_ns").get<std::uint64_t>()};
}

double per_run(const base::ProgramCost& before, const base::ProgramCost& after) {
  return static_cast<double>(after.run_time_ns - before.run_time_ns) /
         static_cast<double>(after.run_count - before.run_count);
}

// Prints {"connect4": nanoseconds an event, ...}. The statistics bill a preempted program for the
// time it did not run, so the cheapest of twenty rounds is the program's cost and the dearer ones
// are the machine's; and they cost clock reads of their own, which an empty program at the same
// hook shows and which are taken off.
TEST_F(EbpfSocket, HookCost) {
  sync(table_of(3));
  const auto statistics = base::enable_program_statistics();
  ASSERT_TRUE(statistics) << base::describe_error(statistics.error());
  std::map<std::string, EmptyProgram> empty;
  for (const auto& [hook, type] : {std::pair("connect4", BPF_CGROUP_INET4_CONNECT),
                                   std::pair("sendmsg4", BPF_CGROUP_UDP4_SENDMSG),
                                   std::pair("recvmsg4", BPF_CGROUP_UDP4_RECVMSG),
                                   std::pair("getpeername4", BPF_CGROUP_INET4_GETPEERNAME)}) {
    auto program = EmptyProgram::attach(type, cgroup_->path());
    ASSERT_TRUE(program) << base::describe_error(program.error());
    empty.emplace(hook, std::move(*program));
  }
  const auto connected = dial(ipv4.service, Transport::tcp);
  ASSERT_TRUE(connected);
  const auto datagrams =
      netns_->inside([&] { return base::testing::open_socket(ipv4.service, Transport::udp); });
  ASSERT_TRUE(datagrams);

  std::map<std::string, double> cheapest;
  std::map<std::string, double> floor;
  const auto round = [&] {
    const auto facts = datapath_->facts();
    std::map<std::string, base::ProgramCost> floors;
    for (const auto& [hook, program] : empty) floors[hook] = program.cost();
    netns_->inside([&] {
      for (int i = 0; i < 500; ++i) {
        EXPECT_TRUE(base::testing::ask_at(datagrams->get(), ipv4.service));  // sendmsg4, recvmsg4
        EXPECT_TRUE(base::testing::peer_of(connected->get()));               // getpeername4
        EXPECT_TRUE(base::testing::dial(ipv4.service, Transport::udp));      // connect4
      }
      return 0;
    });
    const auto facts_after = datapath_->facts();
    for (const auto& [hook, program] : empty) {
      const auto after = cost_of(facts_after, hook);
      EXPECT_GE(after.run_count - cost_of(facts, hook).run_count, 500U) << hook;
      const auto keep_least = [&](std::map<std::string, double>& least, double value) {
        const auto [kept, is_first] = least.emplace(hook, value);
        if (!is_first) kept->second = std::min(kept->second, value);
      };
      keep_least(cheapest, per_run(cost_of(facts, hook), after));
      keep_least(floor, per_run(floors[hook], program.cost()));
    }
  };
  for (int rounds = 0; rounds < 20; ++rounds) round();
  auto costs = base::Json::object();
  for (const auto& [hook, program] : empty) costs[hook] = cheapest[hook] - floor[hook];
  fmt::print("{}\n", base::dump_json(costs));
}

}  // namespace
}  // namespace cluster
