// What a scenario may say of events: whole messages for each that cannot happen, and what a sound
// one is completed with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

using testing::HasSubstr;

// With these events and, behind them, other lines.
std::string scenario_with(std::string_view events, std::string_view more = "",
                          std::string_view web = "replicas: 2, standby: 1",
                          std::string_view workload = "kind: udp_rr, rate: 500/s") {
  return fmt::format(
      "question: Who notices?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2, {}}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{rules: {{datapath: iptables}}, socket: {{datapath: ebpf_socket}}}}\n"
      "arms: [{{name: one, in: rules, dial: service/web}}, "
      "{{name: two, in: socket, dial: service/web}}]\n"
      "workloads: [{{{}, duration: 1s}}]\n"
      "events: [{}]\n"
      "{}",
      web, workload, events, more);
}

// The first line of what is said: the place and the message.
std::string first_fault(const std::string& text) {
  const auto message = message_of(text);
  return message.substr(0, message.find('\n'));
}

constexpr std::string_view web_2_joins = "{at: 100ms, kind: replace, pod: web-0, by: web-2}";

TEST(Events, ASoundOneIsCompleted) {
  const auto scenario = parse_scenario(
      scenario_with("{at: 100ms, kind: kill, pod: web-0}, {at: 300ms, kind: restart, pod: web-0}, "
                    "{at: 500ms, kind: replace, pod: web-1, by: web-2}",
                    "checks: [stale_backend, flows_stay]\n"),
      "s.yaml", {});
  ASSERT_TRUE(scenario) << scenario.error().message;
  EXPECT_EQ(scenario->events[0].noticed_after, noticed_by_default);
  EXPECT_EQ(scenario->events[2].grace, grace_by_default);
  EXPECT_EQ(scenario->stale_budget, stale_budget_by_default);
  const auto again = parse_scenario(base::dump_json(base::to_json(*scenario)), "s.yaml", {});
  ASSERT_TRUE(again) << again.error().message;
}

TEST(Events, BelongInsideOfEveryWindowAndApart) {
  EXPECT_EQ(first_fault(scenario_with("{at: 1s, kind: unready, pod: web-0}")),
            "s.yaml:8:15: events[0].at: it and what follows from it are over at 1s, and "
            "workloads[0] measures 1s; events belong inside of every window");
  // What follows from it, too.
  EXPECT_THAT(first_fault(scenario_with("{at: 950ms, kind: kill, pod: web-0}")),
              HasSubstr("over at 1050ms"));
  EXPECT_THAT(first_fault(scenario_with("{at: 100ms, kind: kill, pod: web-0}, "
                                        "{at: 150ms, kind: restart, pod: web-0}")),
              HasSubstr("events[1].at: the event before is not over until"));
}

TEST(Events, ArePossibleAtTheirTime) {
  EXPECT_EQ(first_fault(scenario_with("{at: 100ms, kind: unready, pod: web-7}")),
            "s.yaml:8:42: events[0].pod: unknown pod \"web-7\"; did you mean \"web-0\"?");
  EXPECT_THAT(first_fault(scenario_with("{at: 100ms, kind: unready, pod: client-0}")),
              HasSubstr("events[0].pod: no Service has the pods \"client\" behind it"));
  EXPECT_EQ(first_fault(scenario_with("{at: 100ms, kind: ready, pod: web-0}")),
            "s.yaml:8:40: events[0].pod: web-0 is ready at 100ms, so ready is not possible");
  EXPECT_THAT(first_fault(scenario_with("{at: 100ms, kind: restart, pod: web-0}")),
              HasSubstr("web-0 is ready at 100ms, so restart is not possible"));
  EXPECT_THAT(first_fault(scenario_with("{at: 100ms, kind: kill, pod: web-0}, "
                                        "{at: 300ms, kind: kill, pod: web-0}")),
              HasSubstr("events[1].pod: web-0 is ended at 300ms, so kill is not possible"));
  EXPECT_THAT(first_fault(scenario_with("{at: 100ms, kind: kill, pod: web-0}, "
                                        "{at: 300ms, kind: ready, pod: web-0}")),
              HasSubstr("web-0 is ended at 300ms, so ready is not possible"));
}

TEST(Events, LeaveSomebodyToAnswer) {
  EXPECT_EQ(first_fault(scenario_with("{at: 100ms, kind: unready, pod: web-0}, "
                                      "{at: 300ms, kind: unready, pod: web-1}")),
            "s.yaml:8:82: events[1].pod: no pod of \"web\" would be ready after it, so nothing "
            "would answer");
}

TEST(Events, ReplaceNamesWhoJoins) {
  EXPECT_THAT(first_fault(scenario_with("{at: 100ms, kind: replace, pod: web-0}")),
              HasSubstr("events[0]: replace needs to know who joins"));
  EXPECT_THAT(first_fault(scenario_with("{at: 100ms, kind: replace, pod: web-0, by: web-1}")),
              HasSubstr("events[0].by: web-1 is ready at 100ms, so replace is not possible"));
  EXPECT_THAT(first_fault(scenario_with("{at: 100ms, kind: replace, pod: web-0, by: client-0}")),
              HasSubstr("client-0 is not of the pods \"web\""));
  EXPECT_THAT(first_fault(scenario_with("{at: 100ms, kind: unready, pod: web-0, by: web-2}")),
              HasSubstr("events[0].by: only replace has it, and this event is unready"));
  EXPECT_THAT(
      first_fault(scenario_with("{at: 100ms, kind: unready, pod: web-0, noticed_after: 1ms}")),
      HasSubstr("events[0].noticed_after: only kill has it"));
}

TEST(Events, NeedOpenLoopsOfRequests) {
  const auto under = [](std::string_view workload) {
    return first_fault(scenario_with(web_2_joins, "", "replicas: 2, standby: 1", workload));
  };
  EXPECT_THAT(under("kind: tcp_rr"),
              HasSubstr("s.yaml:7:13: workloads[0]: under events a closed loop waits"));
  EXPECT_THAT(under("kind: udp_stream, rate: 500/s"),
              HasSubstr("workloads[0]: a stream has no requests that could fail"));
}

TEST(Events, APodOnStandbyHasOneThatMakesItReady) {
  EXPECT_EQ(first_fault(scenario_with("")),
            "s.yaml:3:66: topology.pods.web.standby: no event makes web-2 ready, so it would never "
            "answer");
}

TEST(Events, ChecksAndFaultsAboutThemNeedOneThatMakesABackendLeave) {
  const auto nothing_leaves = [](std::string_view more) {
    return first_fault(scenario_with("", more, "replicas: 2"));
  };
  EXPECT_THAT(nothing_leaves("checks: [stale_backend]\n"),
              HasSubstr("checks[0]: stale_backend is about backends that leave, and no event"));
  EXPECT_THAT(nothing_leaves("checks: [flows_stay]\n"), HasSubstr("no event makes one leave"));
  EXPECT_THAT(nothing_leaves("faults: [{kind: stale_backend, environment: rules}]\n"),
              HasSubstr("nothing to be late for"));
  EXPECT_THAT(nothing_leaves("faults: [{kind: flows_flushed, environment: rules}]\n"),
              HasSubstr("faults[0].kind: flows of datagrams are flushed when a backend leaves"));
  EXPECT_THAT(first_fault(scenario_with(web_2_joins,
                                        "faults: [{kind: flows_flushed, environment: socket}]\n")),
              HasSubstr("flows_flushed is done by rules of iptables or nftables"));
}

TEST(Events, ChecksNeedAWorkloadThatCanTell) {
  EXPECT_THAT(first_fault(scenario_with(web_2_joins, "checks: [flows_stay]\n",
                                        "replicas: 2, standby: 1", "kind: tcp_crr, rate: 500/s")),
              HasSubstr("checks[0]: flows_stay is about kept flows of datagrams"));
  EXPECT_THAT(first_fault(scenario_with(web_2_joins, "checks: [stale_backend]\n",
                                        "replicas: 2, standby: 1", "kind: tcp_rr, rate: 500/s")),
              HasSubstr("checks[0]: stale_backend counts new connections and datagrams"));
}

TEST(Events, HappenToPodsThatEveryArmDials) {
  auto text = scenario_with("{at: 100ms, kind: unready, pod: web-0}", "", "replicas: 2");
  const auto replaced = [&](std::string_view from, std::string_view to) {
    text.replace(text.find(from), from.size(), to);
  };
  replaced("pods: {", "pods: {api: {node: 2}, ");
  replaced("services: {", "services: {api: {target: api}, ");
  replaced("in: socket, dial: service/web", "in: socket, dial: service/api");
  EXPECT_THAT(first_fault(text), HasSubstr("events[0].pod: events happen in every invocation, and "
                                           "arm \"two\" dials the pods \"api\", not \"web\""));
}

}  // namespace
}  // namespace stackbench
