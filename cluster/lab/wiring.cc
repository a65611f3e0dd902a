#include "cluster/lab/wiring.h"

#include <iterator>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "cluster/lab/addresses.h"

namespace cluster {
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

// One end of a cable seen from the parent.
struct Child {
  std::string interface;       // the parent's end
  std::string namespace_name;  // where the other end, eth0, goes
  std::string mac;             // of eth0
  base::IpAddress ipv4;
  base::IpAddress ipv6;
};

// The congestion control is said per route (RTAX_CC_ALGO) because the sysctl takes only what the
// host allows for every user (net.ipv4.tcp_allowed_congestion_control), and a lab changes nothing
// of the host. A route's choice holds for both the connecting and the accepting side.
void connect_child(Batch& batch, const Child& child) {
  batch.line("link set {} up", child.interface);
  for (const auto& address : {child.ipv4, child.ipv6}) {
    batch.line("neigh replace {} lladdr {} nud permanent dev {}", address, child.mac,
               child.interface);
    batch.line("route replace {}/{} dev {} congctl {}", address, address.host_prefix(),
               child.interface, congestion_control);
  }
}

void plug_in_child(Batch& batch, const Child& child) {
  batch.line(
      "link add name {0} address {1} mtu {2} type veth peer name eth0 address {3} mtu {2} "
      "netns {4}",
      child.interface, addresses::parent_mac, addresses::mtu, child.mac, child.namespace_name);
  connect_child(batch, child);
}

Child node_child(std::string_view environment, int node) {
  return {.interface = node_interface(node),
          .namespace_name = node_name(environment, node),
          .mac = addresses::child_mac(node, 0),
          .ipv4 = addresses::node_ipv4(node),
          .ipv6 = addresses::node_ipv6(node)};
}

// The router's way to a node's pods.
void route_pods(Batch& batch, int node) {
  const auto interface = node_interface(node);
  batch.line("route replace {} via {} dev {} onlink", addresses::pod_cidr_ipv4(node),
             addresses::node_ipv4(node), interface);
  batch.line("route replace {} via {} dev {} onlink", addresses::pod_cidr_ipv6(node),
             addresses::node_ipv6(node), interface);
}

// The child's own end: its addresses and the way out.
void set_up_child(Batch& batch, const base::IpAddress& ipv4, const base::IpAddress& ipv6) {
  batch.line("addr add {}/32 dev eth0", ipv4);
  batch.line("addr add {}/128 dev eth0 nodad", ipv6);
  batch.line("link set eth0 up");
  for (const auto gateway : {addresses::gateway_ipv4, addresses::gateway_ipv6}) {
    batch.line("neigh replace {} lladdr {} nud permanent dev eth0", gateway, addresses::parent_mac);
    batch.line("route add default via {} dev eth0 onlink congctl {}", gateway, congestion_control);
  }
}

std::map<std::string, std::string> common_sysctls() {
  std::map<std::string, std::string> values{
      // So that a generator runs out of ports as late as it can.
      {"net.ipv4.ip_local_port_range", "1024 65535"},
      {"net.ipv4.tcp_tw_reuse", "1"},
  };
  for (const auto* scope : {"all", "default"}) {
    const auto put = [&](std::string_view family, std::string_view name, std::string_view value) {
      values[fmt::format("net.{}.conf.{}.{}", family, scope, name)] = value;
    };
    // Replies may take another interface than requests: host routes on every link.
    put("ipv4", "rp_filter", "0");
    put("ipv4", "send_redirects", "0");
    put("ipv4", "accept_redirects", "0");
    put("ipv6", "disable_ipv6", "0");
    put("ipv6", "accept_dad", "0");
    put("ipv6", "accept_ra", "0");
    put("ipv6", "autoconf", "0");
    put("ipv6", "accept_redirects", "0");
  }
  // No link-local addresses on interfaces made from now on (IN6_ADDR_GEN_MODE_NONE).
  values["net.ipv6.conf.default.addr_gen_mode"] = "1";
  return values;
}

std::map<std::string, std::string> forwarding_sysctls() {
  auto values = common_sysctls();
  values["net.ipv4.ip_forward"] = "1";
  values["net.ipv6.conf.all.forwarding"] = "1";
  return values;
}

NamespacePlan router(std::string_view environment, const Layout& layout) {
  Batch batch;
  batch.line("addr add {}/32 dev lo", addresses::router_ipv4());
  batch.line("addr add {}/128 dev lo nodad", addresses::router_ipv6());
  for (int node = 1; node <= layout.nodes; ++node) {
    plug_in_child(batch, node_child(environment, node));
    route_pods(batch, node);
  }
  // In place of an announcement: a static route, spread over the nodes that attract the address.
  for (const auto& balancer : layout.balancers) {
    for (const bool ipv4 : {true, false}) {
      std::string hops;
      for (const int node : balancer.nodes) {
        hops += fmt::format(" nexthop via {} dev node{} onlink",
                            ipv4 ? addresses::node_ipv4(node) : addresses::node_ipv6(node), node);
      }
      const auto& address = ipv4 ? balancer.ipv4 : balancer.ipv6;
      batch.line("route add {}/{}{}", address, address.host_prefix(), hops);
    }
  }
  plug_in_child(batch, {.interface = "external",
                        .namespace_name = external_name(environment),
                        .mac = addresses::child_mac(0, 1),
                        .ipv4 = addresses::external_ipv4(),
                        .ipv6 = addresses::external_ipv6()});
  for (const auto& address : layout.external_addresses) {
    batch.line("neigh replace {} lladdr {} nud permanent dev external", address,
               addresses::child_mac(0, 1));
    batch.line("route add {}/{} dev external congctl {}", address, address.host_prefix(),
               congestion_control);
  }
  auto sysctls = forwarding_sysctls();
  // Connections are spread, and each keeps its way.
  sysctls["net.ipv4.fib_multipath_hash_policy"] = "1";
  sysctls["net.ipv6.fib_multipath_hash_policy"] = "1";
  return {.name = router_name(environment),
          .ip_batch = std::move(batch.text),
          .sysctls = std::move(sysctls)};
}

NamespacePlan node_plan(std::string_view environment, const Layout& layout, int node) {
  Batch batch;
  set_up_child(batch, addresses::node_ipv4(node), addresses::node_ipv6(node));
  // A pod address nobody has must not travel between node and router until its TTL ends.
  batch.line("route add blackhole {}", addresses::pod_cidr_ipv4(node));
  batch.line("route add blackhole {}", addresses::pod_cidr_ipv6(node));
  for (const auto& pod : layout.pods) {
    if (pod.handle.node != node) continue;
    plug_in_child(batch, {.interface = pod_interface(pod.handle),
                          .namespace_name = pod_namespace_name(environment, pod.handle.name),
                          .mac = addresses::child_mac(node, pod.number),
                          .ipv4 = pod.handle.ipv4,
                          .ipv6 = pod.handle.ipv6});
  }
  return {.name = node_name(environment, node),
          .ip_batch = std::move(batch.text),
          .sysctls = forwarding_sysctls()};
}

NamespacePlan leaf(std::string name, const base::IpAddress& ipv4, const base::IpAddress& ipv6) {
  Batch batch;
  set_up_child(batch, ipv4, ipv6);
  return {.name = std::move(name), .ip_batch = std::move(batch.text), .sysctls = common_sysctls()};
}

// The client outside, who calls from the first of its further addresses where it has some.
NamespacePlan external_plan(std::string_view environment, const Layout& layout) {
  Batch batch;
  set_up_child(batch, addresses::external_ipv4(), addresses::external_ipv6());
  std::set<base::AddressFamily> chosen;
  for (const auto& address : layout.external_addresses) {
    const bool ipv4 = address.family == base::AddressFamily::ipv4;
    batch.line("addr add {}/{} dev eth0{}", address, address.host_prefix(), ipv4 ? "" : " nodad");
    if (!chosen.insert(address.family).second) continue;
    batch.line("route replace default via {} dev eth0 onlink src {} congctl {}",
               ipv4 ? addresses::gateway_ipv4 : addresses::gateway_ipv6, address,
               congestion_control);
  }
  return {.name = external_name(environment),
          .ip_batch = std::move(batch.text),
          .sysctls = common_sysctls()};
}

}  // namespace

std::string router_name(std::string_view environment) {
  return fmt::format("{}.router", environment);
}

std::string external_name(std::string_view environment) {
  return fmt::format("{}.external", environment);
}

std::string node_name(std::string_view environment, int node) {
  return fmt::format("{}.node{}", environment, node);
}

std::string pod_namespace_name(std::string_view environment, std::string_view pod) {
  return fmt::format("{}.{}", environment, pod);
}

std::string node_interface(int node) { return fmt::format("node{}", node); }

std::string node_link_batch(int node) {
  Batch batch;
  connect_child(batch, node_child("", node));
  route_pods(batch, node);
  return std::move(batch.text);
}

std::string pod_interface(const PodHandle& pod) { return fmt::format("pod{}", pod.id); }

std::vector<NamespacePlan> wire(std::string_view environment, const Layout& layout) {
  std::vector<NamespacePlan> plans{router(environment, layout)};
  for (int node = 1; node <= layout.nodes; ++node) {
    plans.push_back(node_plan(environment, layout, node));
  }
  for (const auto& pod : layout.pods) {
    plans.push_back(
        leaf(pod_namespace_name(environment, pod.handle.name), pod.handle.ipv4, pod.handle.ipv6));
  }
  plans.push_back(external_plan(environment, layout));
  return plans;
}

}  // namespace cluster
