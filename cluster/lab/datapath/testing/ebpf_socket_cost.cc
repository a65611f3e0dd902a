// What the hooks of ebpf_socket cost, by the kernel's own count. Timing, so not one of the tests:
// bench/peers/compare runs it and holds what it prints against the goal.
#include <map>

#include <fcntl.h>

#include "cluster/lab/datapath/testing/ebpf_socket_fixture.h"
#include "cluster/lab/datapath/testing/hook_cost.h"

namespace cluster {
namespace {

// Prints {"connect4": nanoseconds an event, ...}: the least of twenty rounds, less the clock reads
// of the statistics themselves, which an empty program at the same hook shows.
TEST_F(EbpfSocket, HookCost) {
  sync(table_of(3));
  const auto statistics = base::enable_program_statistics();
  ASSERT_TRUE(statistics) << base::describe_error(statistics.error());
  const base::UniqueFd directory(
      ::open(cgroup_->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(directory);
  std::map<std::string, EmptyProgram> empty;
  for (const auto& [hook, type] : {std::pair("connect4", BPF_CGROUP_INET4_CONNECT),
                                   std::pair("sendmsg4", BPF_CGROUP_UDP4_SENDMSG),
                                   std::pair("recvmsg4", BPF_CGROUP_UDP4_RECVMSG),
                                   std::pair("getpeername4", BPF_CGROUP_INET4_GETPEERNAME)}) {
    auto program = EmptyProgram::attach(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, type, directory.get(), 1);
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
      keep_least(cheapest, hook, per_run(cost_of(facts, hook), after));
      keep_least(floor, hook, per_run(floors[hook], program.cost()));
    }
  };
  for (int rounds = 0; rounds < 20; ++rounds) round();
  auto costs = base::Json::object();
  for (const auto& [hook, program] : empty) costs[hook] = cheapest[hook] - floor[hook];
  fmt::print("{}\n", base::dump_json(costs));
}

}  // namespace
}  // namespace cluster
