// What a cluster of processes is made like, as `stackbench up` is asked for it.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/describe.h"
#include "base/result.h"
#include "base/scalar.h"
#include "base/units.h"

namespace cluster::processes {

enum class ProxyMode { iptables, nftables };

// Who connects pods. `bridge`: the CNI project's bridge plugin on each node, and routes between
// them; nobody enforces NetworkPolicies. `calico`: Calico's plugin and its Felix on each node,
// which does, over the same routes.
enum class Cni { bridge, calico };

// Who gives Services of type LoadBalancer an address and announces it. `none`: nobody. `metallb`:
// MetalLB's controller, and its speaker on each node, towards a peer at the router.
enum class Bgp { none, metallb };

// Who puts proxies beside pods. `none`: nobody. `istio`: the real Istio, by its own istioctl.
enum class Mesh { none, istio };

inline constexpr int most_nodes = 16;
inline constexpr std::string_view default_name = "default";

struct Shape {
  std::string name = std::string(default_name);
  int nodes = 3;
  ProxyMode proxy = ProxyMode::iptables;
  Cni cni = Cni::bridge;
  Bgp bgp = Bgp::none;
  Mesh mesh = Mesh::none;
  // A fault: how far the clocks of nodes are ahead of the machine's, by node ("node2").
  std::map<std::string, base::Duration> clocks_ahead = {};

  bool operator==(const Shape&) const = default;
};

template <typename Visit, base::SelfOf<Shape> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What `down` and `status` call it.", .required = true});
  visit("nodes", self.nodes,
        {.doc = "How many nodes pods run on.",
         .required = true,
         .at_least = 1,
         .at_most = most_nodes});
  visit("proxy", self.proxy, {.doc = "The mode of kube-proxy.", .required = true});
  visit("cni", self.cni, {.doc = "Who connects pods.", .required = true});
  visit("bgp", self.bgp, {.doc = "Who announces the addresses of load balancers."});
  visit("mesh", self.mesh, {.doc = "Who puts proxies beside pods."});
  visit("clocks_ahead", self.clocks_ahead,
        {.doc = "By node: how far its CLOCK_MONOTONIC is ahead of the machine's."});
}

// Whether a name is one: it becomes a directory and part of a context's name.
// Errors: usage, with what is expected.
[[nodiscard]] base::Result<> check_name(std::string_view name);

// Reads "node2=50ms" into shape.clocks_ahead. Errors: usage (no such node, no duration, twice).
[[nodiscard]] base::Result<> add_clock_ahead(Shape& shape, std::string_view word);
// The words that say shape.clocks_ahead.
[[nodiscard]] std::vector<std::string> clock_words(const Shape& shape);

// "3 nodes, kube-proxy iptables, CNI bridge"; "..., BGP metallb, mesh istio, clock of node2 50ms
// ahead".
[[nodiscard]] std::string to_string(const Shape& shape);

}  // namespace cluster::processes

template <>
struct base::EnumNames<cluster::processes::ProxyMode> {
  static constexpr std::array names{
      std::pair{cluster::processes::ProxyMode::iptables, std::string_view("iptables")},
      std::pair{cluster::processes::ProxyMode::nftables, std::string_view("nftables")}};
};

template <>
struct base::EnumNames<cluster::processes::Cni> {
  static constexpr std::array names{
      std::pair{cluster::processes::Cni::bridge, std::string_view("bridge")},
      std::pair{cluster::processes::Cni::calico, std::string_view("calico")}};
};

template <>
struct base::EnumNames<cluster::processes::Bgp> {
  static constexpr std::array names{
      std::pair{cluster::processes::Bgp::none, std::string_view("none")},
      std::pair{cluster::processes::Bgp::metallb, std::string_view("metallb")}};
};

template <>
struct base::EnumNames<cluster::processes::Mesh> {
  static constexpr std::array names{
      std::pair{cluster::processes::Mesh::none, std::string_view("none")},
      std::pair{cluster::processes::Mesh::istio, std::string_view("istio")}};
};
