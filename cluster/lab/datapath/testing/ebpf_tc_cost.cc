// What the programs of ebpf_tc cost a packet of an established flow, by the kernel's own count.
// Timing, so not one of the tests: bench/peers/compare runs it and holds what it prints against the
// goal.
#include <map>
#include <vector>

#include <net/if.h>

#include "cluster/lab/datapath/testing/ebpf_tc_fixture.h"
#include "cluster/lab/datapath/testing/hook_cost.h"

namespace cluster {
namespace {

// A way through the node on which each of these hooks does nothing but its own translation.
struct Way {
  bool from_outside = false;
  bool backend_is_here = false;
  // What it is called -> the hook.
  std::map<std::string, std::string> hooks;
};

// Prints {"from_pods": nanoseconds an event, ...}: the least of twenty rounds, less the clock reads
// of the statistics themselves, which an empty program at the same hook shows. `sent_on` is what
// from_outside costs where the backend is on another node: two rewrites and a route, for request
// and reply alike.
TEST_F(EbpfTcFixture, HookCost) {
  hook();
  const auto at = tc_addresses(true);
  const auto statistics = base::enable_program_statistics();
  ASSERT_TRUE(statistics) << base::describe_error(statistics.error());
  constexpr auto ingress = static_cast<bpf_attach_type>(46);  // BPF_TCX_INGRESS
  constexpr auto egress = static_cast<bpf_attach_type>(47);   // BPF_TCX_EGRESS
  constexpr int next = -1;                                    // TCX_NEXT
  std::map<std::string, EmptyProgram> empty;
  for (const auto& [name, interface, side] :
       {std::tuple("from_pods", "pod1", ingress), std::tuple("to_pods", "pod1", egress),
        std::tuple("from_outside", "eth0", ingress), std::tuple("to_outside", "eth0", egress)}) {
    node->inside([&] {
      auto program = EmptyProgram::attach(BPF_PROG_TYPE_SCHED_CLS, side,
                                          static_cast<int>(::if_nametoindex(interface)), next);
      ASSERT_TRUE(program) << base::describe_error(program.error());
      empty.emplace(name, std::move(*program));
    });
  }

  std::map<std::string, double> cheapest;
  std::map<std::string, double> floor;
  for (const auto& way :
       {Way{.hooks = {{"from_pods", "from_pods"}, {"to_pods", "to_pods"}}},
        Way{.from_outside = true,
            .backend_is_here = true,
            .hooks = {{"from_outside", "from_outside"}, {"to_outside", "to_outside"}}},
        Way{.from_outside = true, .hooks = {{"sent_on", "from_outside"}}}}) {
    sync(table_of(at, {way.backend_is_here ? at.server : at.remote}));
    const auto socket = way.from_outside ? dial(*outside, at.balancer, Transport::udp)
                                         : dial(*client, at.service, Transport::udp);
    ASSERT_TRUE(socket);
    for (int rounds = 0; rounds < 20; ++rounds) {
      const auto before = datapath->facts();
      std::map<std::string, base::ProgramCost> floors;
      for (const auto& [hook, program] : empty) floors[hook] = program.cost();
      for (int i = 0; i < 500; ++i) ASSERT_TRUE(base::testing::ask(socket->get()));
      const auto after = datapath->facts();
      for (const auto& [name, hook] : way.hooks) {
        ASSERT_GE(cost_of(after, hook).run_count - cost_of(before, hook).run_count, 500U) << hook;
        keep_least(cheapest, name, per_run(cost_of(before, hook), cost_of(after, hook)));
        // What is sent on passes no program after ours.
        if (name == hook) keep_least(floor, hook, per_run(floors[hook], empty.at(hook).cost()));
      }
    }
  }
  auto costs = base::Json::object();
  for (const auto& [name, cost] : cheapest) {
    costs[name] = cost - floor[name == "sent_on" ? "from_outside" : name];
  }
  fmt::print("{}\n", base::dump_json(costs));
}

}  // namespace
}  // namespace cluster
