// The target on a real cluster (cluster/kubernetes/testing/shared_cluster.h).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/agent/client.h"
#include "cluster/kubernetes/kubernetes_target.h"
#include "cluster/kubernetes/testing/shared_cluster.h"

namespace cluster {
namespace {

using base::AddressFamily;
using base::Endpoint;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::IsEmpty;

constexpr std::uint16_t service_port = 8001;
constexpr std::uint16_t target_port = 9001;

class ClusterTest : public testing::SharedNamespace {
 protected:
  void SetUp() override {
    if (testing::shared_cluster().kubeconfig.empty()) {
      GTEST_SKIP() << "needs a cluster: name its kubeconfig in STACKBENCH_TEST_KUBECONFIG";
    }
    reach(in_shared_namespace());
  }
  void reach(const KubernetesOptions& options) {
    auto made = KubernetesTarget::create(options);
    ASSERT_TRUE(made) << base::describe_error(made.error());
    target_ = std::move(*made);
  }
  void TearDown() override {
    agents_.clear();
    if (!target_) return;
    const auto begun = base::monotonic_now();
    const auto down = target_->teardown();
    say("taken down", begun);
    EXPECT_TRUE(down) << base::describe_error(down.error());
    expect_nothing_left();
  }

  static void say(const char* what, base::MonotonicTime since) {
    std::printf("%s in %.1f s\n", what,
                static_cast<double>((base::monotonic_now() - since).count()) / 1e9);
  }

  // The datapath the cluster has.
  [[nodiscard]] EnvironmentPlan plan() const {
    const auto datapath = base::enum_from_name<DatapathKind>(target_->cluster().proxy.mode);
    return {.name = "it",
            .datapath = datapath.value_or(DatapathKind::iptables),
            .topology = {.nodes = 2,
                         .pods = {{"client", {.node = 1}},
                                  {"web", {.node = 2, .replicas = 2, .standby = 1}}},
                         .services = {{"web", {.target = "web", .type = ServiceType::NodePort}}}},
            .ports = {{"tcp-crr", Protocol::TCP, service_port, target_port}},
            .faults = {}};
  }

  void provision(const EnvironmentPlan& plan) {
    const auto begun = base::monotonic_now();
    auto made = target_->provision(plan);
    ASSERT_TRUE(made) << base::describe_error(made.error());
    environment_ = std::move(*made);
    say("provisioned", begun);
  }

  bench::AgentClient* agent(const std::string& pod) {
    if (const auto found = agents_.find(pod); found != agents_.end()) return &found->second;
    auto streams = target_->agent(environment_.name, pod);
    EXPECT_TRUE(streams) << base::describe_error(streams.error());
    if (!streams) return nullptr;
    auto client = bench::AgentClient::connect(std::move(streams->to_agent),
                                              std::move(streams->from_agent), "agent " + pod,
                                              {.stderr_file = std::move(streams->errors),
                                               .how_it_ended = std::move(streams->how_it_ended)});
    EXPECT_TRUE(client) << base::describe_error(client.error());
    if (!client) return nullptr;
    return &agents_.emplace(pod, std::move(*client)).first->second;
  }

  void serve() {
    for (const auto& pod : environment_.pods) {
      if (pod.group != "web") continue;
      const auto running = agent(pod.name)->start_server(
          {.kind = bench::WorkloadKind::tcp_crr,
           .listen = {{{.family = AddressFamily::ipv4, .bytes = {}}, target_port}},
           .server_id = pod.id});
      ASSERT_TRUE(running) << base::describe_error(running.error());
    }
  }

  // Who answers at an endpoint, with how many requests each: nobody where it cannot be reached.
  std::map<std::string, std::uint64_t> answered(const Endpoint& endpoint) {
    const auto result = agent("client-0")
                            ->run({.workload = {.kind = bench::WorkloadKind::tcp_crr,
                                                .duration = milliseconds(100)},
                                   .servers = {endpoint}});
    const bool unreachable = !result && result.error().kind == base::ErrorKind::workload;
    EXPECT_TRUE(result || unreachable) << base::describe_error(result.error());
    return result ? result->answered_by : std::map<std::string, std::uint64_t>();
  }
  // The same once it is `wanted` who does: kube-proxy takes its time, and does not say when.
  void expect_answered_by(const Endpoint& endpoint, const std::set<std::string>& wanted) {
    const auto deadline = base::monotonic_now() + seconds(10);
    std::set<std::string> who;
    while (who != wanted && base::monotonic_now() < deadline) {
      who.clear();
      for (const auto& [name, count] : answered(endpoint)) who.insert(name);
    }
    EXPECT_EQ(who, wanted) << endpoint.to_string();
  }

  std::unique_ptr<KubernetesTarget> target_;
  EnvironmentHandle environment_;
  std::map<std::string, bench::AgentClient> agents_;
};

base::Json deny_all(const char* in_namespace) {
  return {
      {"apiVersion", "networking.k8s.io/v1"},
      {"kind", "NetworkPolicy"},
      {"metadata", {{"name", "deny-all"}, {"namespace", in_namespace}}},
      {"spec", {{"podSelector", base::Json::object()}, {"policyTypes", {"Ingress", "Egress"}}}}};
}

TEST_F(ClusterTest, TrafficReachesPodsServicesAndNodePorts) {
  reach(testing::shared_cluster());  // in namespaces of its own
  auto spread = plan();
  spread.topology.namespaces = {{"other", {.labels = {{"team", "red"}}}}};
  spread.topology.pods["web"].in_namespace = "other";
  spread.topology.pods["web"].labels = {{"app", "web"}};
  spread.has_policies = true;
  spread.watches_flows = true;
  provision(spread);
  if (HasFatalFailure()) return;
  serve();
  if (HasFatalFailure()) return;
  const auto& web = environment_.services.at("web");
  for (const auto& pod : environment_.pods) {
    if (pod.group == "web") {
      expect_answered_by({pod.ipv4, target_port}, {std::to_string(pod.id)});
    }
  }
  expect_answered_by({web.ipv4, service_port}, {"2", "3"});
  for (const auto& node : environment_.nodes) {
    expect_answered_by({node.ipv4, web.node_ports.at("tcp-crr")}, {"2", "3"});
  }
  std::printf("%s\n", base::dump_json_pretty(target_->facts()).c_str());

  // Labels as the API server has them, and policies as it takes them.
  const auto& other = environment_.namespaces.at("other");
  EXPECT_EQ(other.labels.at("kubernetes.io/metadata.name"), other.name);
  EXPECT_EQ(other.labels.at("team"), "red");
  const auto labelled = target_->set_labels("it", LabelledKind::pod, "web-0", {{"app", "db"}});
  ASSERT_TRUE(labelled) << base::describe_error(labelled.error());
  EXPECT_GT(labelled->resource_version, 0U);
  ASSERT_TRUE(target_->set_labels("it", LabelledKind::name_space, "other", {{"team", "blue"}}));
  environment_ = *target_->provision(spread);
  EXPECT_EQ(environment_.namespaces.at("other").labels.at("team"), "blue");
  EXPECT_EQ(environment_.pods[1].labels.at("app"), "db");
  auto malformed = deny_all("other");
  malformed["spec"]["ingress"] =
      base::Json::array({{{"ports", base::Json::array({{{"port", 80}, {"endPort", 79}}})}}});
  const auto refused = target_->apply("it", malformed);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, base::ErrorKind::input);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("endPort"));
  for (const auto* place : {"default", "other"}) {
    const auto applied = target_->apply("it", deny_all(place));
    ASSERT_TRUE(applied) << base::describe_error(applied.error());
    EXPECT_GT(applied->resource_version, labelled->resource_version);
  }
  // Stored, and enforced by whoever the facts say.
  if (target_->facts()["policy_engine"]["name"] == "none") {
    expect_answered_by({environment_.pods[1].ipv4, target_port}, {"2"});
  }
  EXPECT_TRUE(target_->remove("it", "NetworkPolicy", "other/deny-all"));
}

TEST_F(ClusterTest, ReadinessMovesTrafficAndIsStamped) {
  provision(plan());
  if (HasFatalFailure()) return;
  serve();
  if (HasFatalFailure()) return;
  const Endpoint service{environment_.services.at("web").ipv4, service_port};
  expect_answered_by(service, {"2", "3"});
  const auto left =
      target_->set_readiness("it", AddressFamily::ipv4, {{"web-0", Readiness::unready}});
  ASSERT_TRUE(left) << base::describe_error(left.error());
  expect_answered_by(service, {"3"});
  const auto joined = target_->set_readiness(
      "it", AddressFamily::ipv4, {{"web-1", Readiness::unready}, {"web-2", Readiness::ready}});
  ASSERT_TRUE(joined) << base::describe_error(joined.error());
  expect_answered_by(service, {"4"});
  for (const auto& stamps : {*left, *joined}) {
    ASSERT_TRUE(stamps.published_ns);
    std::printf("acknowledged after %.1f ms, in the slices after %.1f ms\n",
                static_cast<double>(stamps.acked_ns - stamps.sent_ns) / 1e6,
                static_cast<double>(*stamps.published_ns - stamps.sent_ns) / 1e6);
  }
}

TEST_F(ClusterTest, AnAgentIsHadAgainWithItsJobsRunning) {
  provision(plan());
  if (HasFatalFailure()) return;
  auto streams = target_->agent("it", "web-0");
  ASSERT_TRUE(streams) << base::describe_error(streams.error());
  const auto again = streams->reattach();
  ASSERT_TRUE(again) << base::describe_error(again.error());
}

TEST_F(ClusterTest, ObservesTheHostSideOfAPod) {
  provision(plan());
  if (HasFatalFailure()) return;
  serve();
  if (HasFatalFailure()) return;
  auto observer = target_->observe("it", "client-0");
  ASSERT_TRUE(observer) << base::describe_error(observer.error());
  EXPECT_THAT(observer->interface, ::testing::Not(IsEmpty()));
  auto watcher = bench::AgentClient::connect(std::move(observer->streams.to_agent),
                                             std::move(observer->streams.from_agent), "observer",
                                             {.stderr_file = std::move(observer->streams.errors)});
  ASSERT_TRUE(watcher) << base::describe_error(watcher.error());
  const Endpoint service{environment_.services.at("web").ipv4, service_port};
  std::vector<Endpoint> backends;
  for (const auto& pod : environment_.pods) {
    if (pod.group == "web") backends.push_back({pod.ipv4, target_port});
  }
  const auto attached = watcher->start_observer({.interface = observer->interface,
                                                 .service = {service},
                                                 .backends = backends,
                                                 .protocol = base::Protocol::TCP});
  ASSERT_TRUE(attached) << base::describe_error(attached.error());
  expect_answered_by(service, {"2", "3"});
  const auto counts = watcher->stop_observer(attached->id);
  ASSERT_TRUE(counts) << base::describe_error(counts.error());
  // kube-proxy translates behind the pod's interface, so the Service is what is seen there.
  EXPECT_GT(counts->to_service, 0U);
  EXPECT_EQ(counts->to_backend, 0U);
}

TEST_F(ClusterTest, AContextThatIsNotThereIsSaid) {
  auto options = testing::shared_cluster();
  options.context = "no-such-context";
  const auto made = KubernetesTarget::create(options);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, base::ErrorKind::input) << base::describe_error(made.error());
  EXPECT_THAT(made.error().message, ::testing::HasSubstr("no-such-context"));
}

}  // namespace
}  // namespace cluster
