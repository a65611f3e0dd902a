// What `stackbench up` adds to a Kubernetes: Calico, whose policies hold for packets that pods
// send, and MetalLB, whose speakers peer with Debian's gobgpd. Needs root and what `./bootstrap
// test stack` gets; every wait is for a condition, bounded.
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <ifaddrs.h>
#include <sched.h>

#include "bench/sockets.h"
#include "tests/own_cluster.h"

namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;
using tests::comes_true;
using tests::tools;

// Long for a connection on one machine; one that policy drops takes all of it.
constexpr auto dial_patience = std::chrono::milliseconds(300);
constexpr auto session_patience = std::chrono::minutes(3);
constexpr std::string_view service_address = "10.96.7.7";
constexpr std::uint16_t service_port = 80;
constexpr std::uint16_t pod_port = 8080;

// Runs `work` on a thread that has entered the network namespace; sockets opened there stay there.
void in_namespace(const std::string& path, const std::function<void()>& work) {
  std::thread([&] {
    const base::UniqueFd entered(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(entered) << path;
    ASSERT_EQ(::setns(entered.get(), CLONE_NEWNET), 0) << path;
    work();
  }).join();
}

base::Endpoint endpoint(std::string_view address, std::uint16_t port) {
  return {.address = base::IpAddress::parse(address).value(), .port = port};
}

// 0, or the errno that says why there is no connection.
int dial(const std::string& from, std::string_view address, std::uint16_t port) {
  int code = -1;
  in_namespace(from, [&] {
    const auto connected = bench::connect_within(endpoint(address, port), dial_patience, -1);
    code = connected ? 0 : connected.error();
  });
  return code;
}

base::UniqueFd listen(const std::string& in) {
  base::UniqueFd listener;
  in_namespace(in, [&] {
    auto opened = bench::listen_tcp(endpoint("0.0.0.0", pod_port));
    ASSERT_TRUE(opened) << opened.error().message;
    listener = std::move(*opened);
  });
  return listener;
}

bool has_address(const std::string& netns, const std::string& address) {
  bool found = false;
  in_namespace(netns, [&] {
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) < 0) return;
    for (const auto* one = all; one != nullptr; one = one->ifa_next) {
      if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
      char text[INET_ADDRSTRLEN] = "";
      const auto* socket_address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
      ::inet_ntop(AF_INET, &socket_address->sin_addr, static_cast<char*>(text), sizeof(text));
      found = found || address == static_cast<const char*>(text);
    }
    ::freeifaddrs(all);
  });
  return found;
}

struct Pod {
  std::string address;
  std::string netns;  // a path
};

class Stack : public tests::OwnCluster {
 protected:
  void SetUp() override {
    OwnCluster::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const auto* file : {"go/calico/calico-felix", "go/metallb/speaker", "tools/gobgpd"}) {
      ASSERT_TRUE(fs::exists(tools / file)) << "run ./bootstrap test stack";
    }
  }

  void up(const std::vector<std::string>& words) {
    std::vector<std::string> argv{"up", "--name", "test", "--nodes", "2"};
    argv.insert(argv.end(), words.begin(), words.end());
    const auto up = stackbench(argv);
    ASSERT_EQ(up.code, 0) << up.err;
    // The time it took, for whoever reads the test's output.
    std::printf("%s", up.out.c_str());
    EXPECT_EQ(state()["phase"], "ready");
  }
  void down() {
    listeners_.clear();  // a socket keeps its network namespace
    const auto down = stackbench({"down", "--name", "test"});
    EXPECT_EQ(down.code, 0) << down.err;
    EXPECT_FALSE(fs::exists(directory()));
    EXPECT_EQ(difference(), "");
  }
  void apply(const std::string& objects) {
    const auto applied = kubectl({"apply", "-f", "-"}, objects);
    ASSERT_EQ(applied.code, 0) << applied.err;
  }
  void remove(const std::vector<std::string>& words) {
    std::vector<std::string> argv{"delete"};
    argv.insert(argv.end(), words.begin(), words.end());
    const auto removed = kubectl(argv);
    EXPECT_EQ(removed.code, 0) << removed.err;
  }

  // A client on node1 and a server on each node, behind one Service.
  void run_pods(std::string_view service_type) {
    std::string text;
    for (const auto& [name, app, node] : {std::tuple{"client", "client", "node1"},
                                          {"web-1", "web", "node1"},
                                          {"web-2", "web", "node2"}}) {
      text += fmt::format(
          "{{apiVersion: v1, kind: Pod, metadata: {{name: {}, labels: {{app: {}}}}}, spec: "
          "{{nodeName: {}, terminationGracePeriodSeconds: 0, containers: [{{name: pause, image: "
          "\"stackbench-pause:{}\", imagePullPolicy: Never}}]}}}}\n---\n",
          name, app, node, STACKBENCH_VERSION);
    }
    text += fmt::format(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{type: {}, {}clusterIP: "
        "{}, selector: {{app: web}}, ports: [{{port: {}, targetPort: {}}}]}}}}\n",
        service_type, service_type == "LoadBalancer" ? "externalTrafficPolicy: Local, " : "",
        service_address, service_port, pod_port);
    apply(text);
    const auto ready = kubectl({"wait", "--for=condition=Ready", "--timeout=120s", "pod/client",
                                "pod/web-1", "pod/web-2"});
    ASSERT_EQ(ready.code, 0) << ready.err << kubectl({"describe", "pods"}).out;
    for (const auto* name : {"client", "web-1", "web-2"}) pods_[name] = find_pod(name);
  }

  [[nodiscard]] Pod find_pod(const std::string& name) const {
    const auto object =
        base::parse_json(kubectl({"get", "pod", name, "-o", "json"}).out).value_or(base::Json());
    Pod pod{.address = object["status"]["podIP"].get<std::string>(), .netns = {}};
    const auto now = state();
    for (const auto& node : now["nodes"]) {
      if (node["name"] != object["spec"]["nodeName"]) continue;
      const auto folder = fmt::format("/proc/{}/root/run/netns", node["init"].get<int>());
      for (const auto& entry : fs::directory_iterator(folder)) {
        const auto path = entry.path().string();
        if (has_address(path, pod.address)) pod.netns = path;
      }
    }
    EXPECT_NE(pod.netns, "") << name << " at " << pod.address;
    return pod;
  }

  // Servers in these pods, which run nothing themselves: the kernel takes connections.
  void serve(const std::vector<std::string>& names) {
    for (const auto& name : names) listeners_.push_back(listen(pods_.at(name).netns));
  }
  // What becomes of connections from a pod, by whom they are for.
  [[nodiscard]] std::map<std::string, int> dials_from(const std::string& from) const {
    const auto& netns = pods_.at(from).netns;
    return {{"web-1", dial(netns, pods_.at("web-1").address, pod_port)},
            {"web-2", dial(netns, pods_.at("web-2").address, pod_port)},
            {"service", dial(netns, service_address, service_port)}};
  }
  // Until all of them are as they are to be.
  [[nodiscard]] bool all_become(const std::string& from, int code) const {
    return comes_true([&] {
      const auto all = dials_from(from);
      return std::ranges::all_of(all, [&](const auto& one) { return one.second == code; });
    });
  }

  std::map<std::string, Pod> pods_;
  std::vector<base::UniqueFd> listeners_;
};

constexpr std::string_view default_deny = R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny}
spec: {podSelector: {}, policyTypes: [Ingress]}
)";

constexpr std::string_view clients_only = R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients-only}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}]
)";

TEST_F(Stack, CalicoEnforcesADefaultDenyAndLiftsIt) {
  up({"--cni", "calico"});
  run_pods("ClusterIP");
  serve({"web-1", "web-2"});

  EXPECT_TRUE(all_become("client", 0)) << "without a policy everything passes";

  apply(std::string(default_deny));
  EXPECT_TRUE(all_become("client", ETIMEDOUT));
  for (int round = 0; round < 5; ++round) {
    for (const auto& [to, code] : dials_from("client")) EXPECT_EQ(code, ETIMEDOUT) << to;
  }

  apply(std::string(clients_only));
  EXPECT_TRUE(all_become("client", 0));
  EXPECT_EQ(dial(pods_["web-1"].netns, pods_["web-2"].address, pod_port), ETIMEDOUT)
      << "a server is no client";

  remove({"networkpolicy", "--all"});
  EXPECT_TRUE(all_become("client", 0));
  EXPECT_TRUE(comes_true(
      [&] { return dial(pods_["web-1"].netns, pods_["web-2"].address, pod_port) == 0; }));
  down();
}

TEST_F(Stack, ScenariosAnswerWithAllOfItAndNameCalico) {
  up({"--cni", "calico", "--bgp", "metallb", "--proxy", "nftables"});
  const auto report_path = (home_ / "report.json").string();
  std::vector<std::string> words{
      "run",      std::string(STACKBENCH_SOURCE_DIR) + "/scenarios/service-path.yaml",
      "--target", "kubernetes",
      "--out",    report_path};
  for (const auto* value : {"blocks=6", "workloads.0.duration=40ms", "workloads.1.duration=40ms"}) {
    words.insert(words.end(), {"--set", value});
  }
  const auto ran = stackbench(words);
  // So few and so short blocks tell little of latency.
  EXPECT_THAT(ran.code, AnyOf(0, 3, 4)) << ran.err << ran.out;
  const auto text = base::read_file(report_path);
  ASSERT_TRUE(text) << ran.err;
  const auto report = base::parse_json(*text).value_or(base::Json());
  EXPECT_EQ(report["target_facts"]["cni"]["name"], "calico");
  EXPECT_THAT(report["target_facts"]["cni"]["version"].get<std::string>(), HasSubstr("v3."));
  std::map<std::string, std::set<std::string>> verdicts;  // of translated_at, by arm
  for (const auto& check : report["checks"]) {
    verdicts[check["arm"].get<std::string>()].insert(check["verdict"].get<std::string>());
  }
  // With somebody who gives them an address, load balancers are no longer skipped.
  for (const auto* arm : {"near_cluster_ip", "near_node_port", "near_load_balancer",
                          "far_cluster_ip", "far_node_port", "far_load_balancer"}) {
    EXPECT_THAT(verdicts[arm], UnorderedElementsAre("pass")) << arm << report["checks"].dump();
  }
  for (const auto& sample : report["samples"]) EXPECT_TRUE(sample["errors"].empty()) << sample;
  down();
}

// Debian's gobgpd at the router, which nodes find under the address they peer with.
class Router {
 public:
  Router(std::string netns, const fs::path& folder) : netns_(std::move(netns)) {
    const auto config = (folder / "gobgpd.toml").string();
    std::ofstream(config) << R"([global.config]
  as = 64513
  router-id = "172.18.0.1"
[[peer-groups]]
  [peer-groups.config]
    peer-group-name = "nodes"
    peer-as = 64512
  [peer-groups.transport.config]
    passive-mode = true
[[dynamic-neighbors]]
  [dynamic-neighbors.config]
    prefix = "172.18.0.0/16"
    peer-group = "nodes"
)";
    auto started = base::Process::spawn(
        {.argv = inside({program("gobgpd"), "-f", config, "--api-hosts=127.0.0.1:50051"}),
         .out = base::Stdio::null(),
         .err = base::Stdio::null()});
    EXPECT_TRUE(started) << base::describe_error(started.error());
    if (started) daemon_.emplace(std::move(*started));
  }

  [[nodiscard]] const std::string& netns() const { return netns_; }
  [[nodiscard]] bool runs() { return daemon_ && !daemon_->wait(base::Duration::zero()); }
  void end() { daemon_.reset(); }

  // The nodes whose sessions are Established.
  [[nodiscard]] std::set<std::string> established() const {
    constexpr int state_established = 6;
    std::set<std::string> nodes;
    const auto neighbors = ask({"neighbor"});
    for (const auto& neighbor : neighbors) {
      const auto state = neighbor.value("state", base::Json::object());
      if (state.value("session_state", 0) == state_established) {
        nodes.insert(state.value("neighbor_address", ""));
      }
    }
    return nodes;
  }
  // The next hops of each prefix that was announced and not withdrawn.
  [[nodiscard]] std::map<std::string, std::set<std::string>> routes() const {
    constexpr int next_hop = 3;  // a path attribute's type
    std::map<std::string, std::set<std::string>> all;
    const auto table = ask({"global", "rib"});
    for (const auto& [prefix, paths] : table.items()) {
      for (const auto& path : paths) {
        for (const auto& attribute : path["attrs"]) {
          if (attribute.value("type", 0) != next_hop) continue;
          all[prefix].insert(attribute.value("nexthop", ""));
        }
      }
    }
    return all;
  }
  // Puts a prefix into the router's kernel, which gobgpd does not.
  void install(const std::string& prefix, const std::string& through) const {
    const auto done =
        base::run_for_output(inside({"ip", "route", "replace", prefix, "via", through}));
    EXPECT_TRUE(done) << base::describe_error(done.error());
  }

 private:
  [[nodiscard]] static std::string program(const std::string& name) {
    return (tools / "tools/gobgpd/usr/bin" / name).string();
  }
  [[nodiscard]] std::vector<std::string> inside(std::vector<std::string> words) const {
    words.insert(words.begin(), {"nsenter", "--net=" + netns_});
    return words;
  }
  // What the daemon answers; null while it does not.
  [[nodiscard]] base::Json ask(std::vector<std::string> words) const {
    words.insert(words.begin(), {program("gobgp"), "-j"});
    const auto answer = base::run_for_output(inside(std::move(words)));
    return answer ? base::parse_json(*answer).value_or(base::Json()) : base::Json();
  }

  std::string netns_;
  std::optional<base::Process> daemon_;
};

TEST_F(Stack, MetalLbAnnouncesALoadBalancerFromEachNodeWithAnEndpointAndWithdrawsIt) {
  up({"--bgp", "metallb"});
  const auto place = fmt::format("/proc/{}/root/run/netns/", state()["root"].get<int>());
  Router router(place + "router", home_);
  EXPECT_TRUE(comes_true([&] { return router.established().size() == 2; }, session_patience));
  EXPECT_THAT(router.established(), UnorderedElementsAre("172.18.0.2", "172.18.0.3"));
  EXPECT_THAT(router.routes(), IsEmpty());

  run_pods("LoadBalancer");
  EXPECT_TRUE(comes_true([&] {
    const auto routes = router.routes();
    return routes.size() == 1 && routes.begin()->second.size() == 2;
  }));
  const auto routes = router.routes();
  ASSERT_THAT(routes, SizeIs(1));
  const auto& [prefix, next_hops] = *routes.begin();
  const auto address = prefix.substr(0, prefix.find('/'));
  EXPECT_EQ(prefix, address + "/32");
  EXPECT_THAT(address, testing::StartsWith("172.20.0."));
  EXPECT_THAT(next_hops, UnorderedElementsAre("172.18.0.2", "172.18.0.3"));
  const auto ingress =
      kubectl({"get", "service", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"});
  EXPECT_EQ(ingress.out, address);

  // From outside, by the route that was learnt.
  serve({"web-1", "web-2"});
  for (const auto& next_hop : next_hops) {
    router.install(prefix, next_hop);
    EXPECT_TRUE(comes_true([&] { return dial(place + "external", address, service_port) == 0; }))
        << "by " << next_hop;
  }

  remove({"pod", "web-2"});
  EXPECT_TRUE(comes_true([&] {
    const auto left = router.routes();
    return left.size() == 1 && left.begin()->second == std::set<std::string>{"172.18.0.2"};
  })) << "a node without an endpoint withdraws";

  remove({"service", "web"});
  EXPECT_TRUE(comes_true([&] { return router.routes().empty(); }));
  EXPECT_TRUE(router.runs());
  router.end();  // it would keep its network namespace
  down();
}

}  // namespace
