#include "cluster/processes/wiring.h"

#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "cluster/processes/addresses.h"
#include "cluster/processes/layout.h"

namespace cluster::processes {
namespace {

// A batch that grows a line at a time.
struct Batch {
  std::string text = "link set lo up\n";

  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
    text += '\n';
  }
};

std::map<std::string, std::string> forwarding() {
  return {{"net.ipv4.ip_forward", "1"},
          // Replies may take another way than requests: a Service's answer comes from a pod.
          {"net.ipv4.conf.all.rp_filter", "0"},
          {"net.ipv4.conf.default.rp_filter", "0"},
          {"net.ipv4.conf.all.send_redirects", "0"},
          {"net.ipv4.conf.default.send_redirects", "0"}};
}

// A cable from the router to the eth0 of another namespace.
void plug_in(Batch& router, std::string_view other) {
  router.line("link add name {0} type veth peer name eth0 netns {0}", other);
}

void route_pods(Batch& batch, const Shape& shape, int but) {
  for (int node = 1; node <= shape.nodes; ++node) {
    if (node == but) continue;
    batch.line("route add {} via {}", addresses::pod_cidr_of(node), addresses::node(node));
  }
}

NamespacePlan router(const Shape& shape) {
  Batch batch;
  batch.line("link add br0 type bridge");
  batch.line("addr add {}/{} dev br0", addresses::router, addresses::fabric_prefix);
  batch.line("link set br0 up");
  std::vector<std::string> members{std::string(control_plane_netns)};
  for (int node = 1; node <= shape.nodes; ++node) members.push_back(node_name(node));
  for (const auto& member : members) {
    plug_in(batch, member);
    batch.line("link set {} master br0 up", member);
  }
  plug_in(batch, external_netns);
  batch.line("addr add {}/{} dev {}", addresses::external_router, addresses::external_prefix,
             external_netns);
  batch.line("link set {} up", external_netns);
  route_pods(batch, shape, 0);
  auto sysctls = forwarding();
  // Connections to several next hops are spread, and each keeps its way.
  sysctls["net.ipv4.fib_multipath_hash_policy"] = "1";
  // What crosses the bridge is switched, not filtered.
  sysctls["net.bridge.bridge-nf-call-iptables"] = "0";
  sysctls["net.bridge.bridge-nf-call-ip6tables"] = "0";
  return {std::string(router_netns), std::move(batch.text), std::move(sysctls)};
}

NamespacePlan node(const Shape& shape, int number) {
  Batch batch;
  batch.line("addr add {}/{} dev eth0", addresses::node(number), addresses::fabric_prefix);
  batch.line("link set eth0 up");
  batch.line("route add default via {}", addresses::router);
  route_pods(batch, shape, number);
  // Calico gives each pod a route of its own; what is for none of them goes nowhere, not back to
  // the router, which would send it here again.
  if (shape.cni == Cni::calico) {
    batch.line("route add blackhole {}", addresses::pod_cidr_of(number));
  }
  auto sysctls = forwarding();
  // A Service's answer between two pods of one node crosses only the bridge, and its address is to
  // be translated back there.
  sysctls["net.bridge.bridge-nf-call-iptables"] = "1";
  sysctls["net.bridge.bridge-nf-call-ip6tables"] = "1";
  return {node_name(number), std::move(batch.text), std::move(sysctls)};
}

NamespacePlan control_plane(const Shape& shape) {
  Batch batch;
  batch.line("addr add {}/{} dev eth0", addresses::control_plane, addresses::fabric_prefix);
  batch.line("link set eth0 up");
  batch.line("route add default via {}", addresses::router);
  route_pods(batch, shape, 0);
  return {std::string(control_plane_netns), std::move(batch.text), {}};
}

NamespacePlan external() {
  Batch batch;
  batch.line("addr add {}/{} dev eth0", addresses::external, addresses::external_prefix);
  batch.line("link set eth0 up");
  batch.line("route add default via {}", addresses::external_router);
  return {std::string(external_netns), std::move(batch.text), {}};
}

}  // namespace

bool filters_bridged_packets() {
  return ::access("/proc/sys/net/bridge/bridge-nf-call-iptables", F_OK) == 0;
}

std::vector<NamespacePlan> wire(const Shape& shape) {
  std::vector<NamespacePlan> plans{router(shape), control_plane(shape)};
  for (int number = 1; number <= shape.nodes; ++number) plans.push_back(node(shape, number));
  plans.push_back(external());
  return plans;
}

}  // namespace cluster::processes
