// A Session on a real cluster, as it runs in a lab: what is above the target must not know which it
// is.
#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/kubernetes_target.h"
#include "cluster/kubernetes/testing/shared_cluster.h"
#include "stackbench/scenario/reader.h"
#include "stackbench/session.h"

namespace stackbench {
namespace {

constexpr std::string_view scenario_text = R"(question: Does a session run on a cluster?
topology:
  nodes: 2
  pods:
    client: {node: 1}
    web:    {node: 2, replicas: 2, standby: 1}
  services: {web: {target: web, type: NodePort}}
environments:
  it: {datapath: DATAPATH}
arms:
  - {name: pod_ip,     in: it, dial: pod/web}
  - {name: cluster_ip, in: it, dial: service/web}
  - {name: node_port,  in: it, dial: node_port/web@2}
workloads:
  - {kind: tcp_crr, rate: 500/s, connections: 8, duration: 2500ms, timeout: 300ms}
events:
  - {at: 300ms, kind: unready, pod: web-0}
  - {at: 700ms, kind: ready, pod: web-0}
  - {at: 1000ms, kind: kill, pod: web-1, noticed_after: 50ms}
  - {at: 1300ms, kind: restart, pod: web-1}
  - {at: 1600ms, kind: replace, pod: web-1, by: web-2, grace: 200ms}
checks: [translated_at]
stale_budget: 2s
blocks: 6
)";

class SessionOnACluster : public cluster::testing::SharedNamespace {
 protected:
  void SetUp() override {
    const auto options = in_shared_namespace();
    if (options.kubeconfig.empty()) {
      GTEST_SKIP() << "needs a cluster: name its kubeconfig in STACKBENCH_TEST_KUBECONFIG";
    }
    auto made = cluster::KubernetesTarget::create(options);
    ASSERT_TRUE(made) << base::describe_error(made.error());
    target_ = std::move(*made);
  }
  void TearDown() override {
    target_.reset();
    expect_nothing_left();
  }
  void load(std::string text) {
    constexpr std::string_view placeholder = "DATAPATH";
    const auto& mode = target_->cluster().proxy.mode;
    text.replace(text.find(placeholder), placeholder.size(), mode.empty() ? "iptables" : mode);
    auto scenario = parse_scenario(text, "cluster.yaml", {});
    ASSERT_TRUE(scenario) << base::describe_error(scenario.error());
    auto plan = make_plan(*scenario, {0, 1});
    ASSERT_TRUE(plan) << base::describe_error(plan.error());
    plan_ = std::move(*plan);
  }

  std::unique_ptr<cluster::KubernetesTarget> target_;
  Plan plan_;
  base::Interrupt interrupt_ = base::Interrupt::never();
};

TEST_F(SessionOnACluster, MeasuresObservesAndMakesEventsHappen) {
  ASSERT_NO_FATAL_FAILURE(load(std::string(scenario_text)));
  auto session = Session::open(*target_, plan_, interrupt_);
  ASSERT_TRUE(session) << base::describe_error(session.error());
  const auto watching = session->watch_drops();
  EXPECT_TRUE(watching) << base::describe_error(watching.error());
  for (std::size_t arm = 0; arm < plan_.arms.size(); ++arm) {
    const auto seen = session->observe_translation(arm, 0);
    ASSERT_TRUE(seen) << base::describe_error(seen.error());
    // kube-proxy translates on the node, so a pod's interface shows what the client dialled.
    const bool dials_pod = plan_.arms[arm].dial.kind == DialTarget::Kind::pod;
    EXPECT_EQ(seen->counts->to_service > 0, !dials_pod) << plan_.arms[arm].name;
    EXPECT_EQ(seen->counts->to_backend > 0, dials_pod) << plan_.arms[arm].name;
    const auto sample = session->observe_connections(arm, 0);
    ASSERT_TRUE(sample) << base::describe_error(sample.error());
    EXPECT_GT(sample->client.requests, 10U) << plan_.arms[arm].name;
    EXPECT_EQ(sample->client.answered_by.size(), 2U) << plan_.arms[arm].name;
    EXPECT_TRUE(sample->client.failures.empty()) << plan_.arms[arm].name;
  }
  const auto address_of = [&](const char* name) {
    const auto& pods = session->environments().front().pods;
    return std::ranges::find(pods, name, &cluster::PodHandle::name)->ipv4.to_string();
  };
  const auto replaced = address_of("web-1");
  const auto kept = address_of("web-0");
  int reached = 0;
  // The second finds the pod that the first has replaced made anew.
  for (const std::uint64_t seed : {1U, 2U}) {
    const auto sample = session->invoke(1, 0, seed);
    ASSERT_TRUE(sample) << base::describe_error(sample.error());
    ASSERT_EQ(sample->outcomes.events.size(), 5U);
    for (const auto& event : sample->outcomes.events) {
      EXPECT_LT(event.what.sent_ns, event.what.acked_ns);
      ASSERT_TRUE(event.what.published_ns);
      const auto kind = event.what.kind;
      const bool joins = !cluster::makes_leave(kind) || kind == cluster::EventKind::replace;
      // kube-proxy may take a second over it, and the next event comes before that.
      EXPECT_TRUE(joins || !event.reached) << base::enum_name(kind);
      reached += event.reached ? 1 : 0;
      fmt::print(
          "{} {}: acknowledged {:.1f} ms, published {:.1f} ms, stale {:.1f} ms, reached "
          "{:.1f} ms\n",
          base::enum_name(kind), event.what.pod,
          static_cast<double>(event.what.acked_ns - event.what.sent_ns) / 1e6,
          static_cast<double>(*event.what.published_ns - event.what.sent_ns) / 1e6,
          event.stale ? static_cast<double>(event.stale->ns) / 1e6 : -1.0,
          event.reached ? static_cast<double>(event.reached->ns) / 1e6 : -1.0);
    }
    EXPECT_FALSE(sample->client.rate_capped);
  }
  EXPECT_GT(reached, 0);
  EXPECT_NE(address_of("web-1"), replaced);
  EXPECT_EQ(address_of("web-0"), kept);
  const auto drops = session->take_drops();
  EXPECT_TRUE(drops) << base::describe_error(drops.error());
  const auto clock = session->clock();
  std::printf("clock within %lld ns\n", static_cast<long long>(clock.uncertainty.count()));
}

TEST_F(SessionOnACluster, EveryWorkloadGetsThrough) {
  ASSERT_NO_FATAL_FAILURE(load(R"(question: Does everything get through?
topology:
  nodes: 2
  pods: {client: {node: 1}, web: {node: 2}}
  services: {web: {target: web}}
environments: {it: {datapath: DATAPATH}}
arms: [{name: service, in: it, dial: service/web}]
blocks: 6
workloads:
  - {kind: tcp_rr, duration: 50ms}
  - {kind: tcp_crr, duration: 50ms}
  - {kind: udp_rr, duration: 50ms}
  - {kind: http, duration: 50ms}
  - {kind: http, keep_alive: false, duration: 50ms}
  - {kind: tcp_stream, duration: 50ms}
  - {kind: udp_stream, rate: 500/s, duration: 50ms}
)"));
  auto session = Session::open(*target_, plan_, interrupt_);
  ASSERT_TRUE(session) << base::describe_error(session.error());
  const auto answered = session->await_services();
  ASSERT_TRUE(answered) << base::describe_error(answered.error());
  for (std::size_t workload = 0; workload < plan_.workloads.size(); ++workload) {
    const auto& name = plan_.workloads[workload].name;
    const auto sample = session->invoke(0, workload, workload + 1);
    ASSERT_TRUE(sample) << name << ": " << base::describe_error(sample.error());
    EXPECT_GT(sample->client.requests, 0U) << name;
    EXPECT_EQ(sample->client.errors.total(), 0U) << name;
  }
}

// The pods of an Indexed Job, each with its share of the rate and of the connections.
TEST_F(SessionOnACluster, GeneratorsTogetherMakeTheRateAskedFor) {
  std::string text = R"(question: Do shares add up?
topology:
  nodes: 2
  pods: {client: {node: 1, replicas: 8}, web: {node: 2}}
  services: {web: {target: web}}
environments: {it: {datapath: DATAPATH}}
arms: [{name: service, in: it, dial: service/web}]
blocks: 6
workloads:
)";
  constexpr std::array generators{1, 2, 4, 8};
  for (const int count : generators) {
    text += fmt::format(
        "  - {{kind: tcp_rr, rate: 800/s, connections: 8, duration: 500ms, warm_up: 0ms, "
        "generators: {}}}\n",
        count);
  }
  ASSERT_NO_FATAL_FAILURE(load(std::move(text)));
  auto session = Session::open(*target_, plan_, interrupt_);
  ASSERT_TRUE(session) << base::describe_error(session.error());
  const auto answered = session->await_services();
  ASSERT_TRUE(answered) << base::describe_error(answered.error());
  for (std::size_t workload = 0; workload < generators.size(); ++workload) {
    const auto sample = session->invoke(0, workload, workload + 1);
    ASSERT_TRUE(sample) << base::describe_error(sample.error());
    // An open loop answers all it was asked in the end: 400, but for how its schedule is drawn.
    EXPECT_NEAR(static_cast<double>(sample->client.requests), 400, 100) << generators[workload];
    EXPECT_EQ(sample->client.latency.count(), sample->client.requests) << generators[workload];
    EXPECT_EQ(sample->client.errors.total(), 0U) << generators[workload];
  }
}

}  // namespace
}  // namespace stackbench
