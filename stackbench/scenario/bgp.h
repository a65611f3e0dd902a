// `bgp:` of a scenario: how a LoadBalancer's address is announced, reached and withdrawn. Such a
// scenario has neither arms nor workloads.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/describe.h"
#include "base/scalar.h"
#include "bgp-peer/fib.h"
#include "bgp-peer/route.h"
#include "cluster/topology.h"
#include "stackbench/scenario/bgp_faults.h"

namespace stackbench::bgp {

// What is written so that the address appears and goes.
enum class Write {
  service,    // the Service is made and deleted
  readiness,  // its pods become ready and unready: under externalTrafficPolicy Local
};

// What is broken on purpose.
enum class Fault {
  none,
  withdrawal_suppressed,       // what is no longer there stays announced
  withdrawal_delayed,          // it is withdrawn 250 ms late
  announced_without_endpoint,  // Local: by every node, with an endpoint or without
  wrong_community,
  announced_early,  // endpoints answer 40 ms after they were announced
  peer_slowed,      // of `scale`: the router's daemon is stopped 200 ms out of every 250
  // Of `flows`, each a route in the router that its daemon knows nothing of, or a setting:
  next_hops_unequal,  // the first next hop is given twice the weight
  next_hop_missing,   // the last one is left out
  ports_not_hashed,   // flows are told apart by their addresses alone
  next_hops_rebuilt,  // when a member leaves, those that stay are put in another order
  // With `faults`:
  route_kept,              // the router's kernel keeps a route that BGP has given up
  never_restarted,         // what was killed is started again by nobody while it is waited for
  restart_forgets_routes,  // speaker_restarted comes back without the R and F bits and its routes
};

// Many Services at once, in place of one.
struct Scale {
  std::vector<int> services;
  std::optional<bgp_peer::Prefix> pool = {};
};

inline constexpr int most_scale_services = 20'000;

template <typename Visit, base::SelfOf<Scale> Self>
void describe(Visit& visit, Self& self) {
  visit("services", self.services,
        {.doc = "How many are announced and withdrawn at once, one number after the other; each is "
                "like bgp.service.",
         .required = true});
  visit("pool", self.pool,
        {.doc = "Where their addresses come from; absent: all of the lab's, 172.20.0.0/16 or "
                "fd00:172:20::/112."});
}

inline constexpr int fewest_flows = 100;
inline constexpr int most_flows = 40'000;

// Whether it is planted in a scenario with `faults`, and not in one with rounds.
[[nodiscard]] constexpr bool is_of_faults(Fault fault) {
  return fault == Fault::route_kept || fault == Fault::never_restarted ||
         fault == Fault::restart_forgets_routes;
}

// What is granted.
struct Budget {
  base::Duration announce = std::chrono::milliseconds(500);  // write → first answered
  base::Duration withdraw = std::chrono::milliseconds(200);  // write → route gone
  base::Duration early = std::chrono::milliseconds(10);      // route there → first answered
};

template <typename Visit, base::SelfOf<Budget> Self>
void describe(Visit& visit, Self& self) {
  visit("announce", self.announce, {.doc = "From the write to the first answered packet."});
  visit("withdraw", self.withdraw,
        {.doc = "From the acknowledged write until the route is out of the router's kernel."});
  visit("early", self.early,
        {.doc = "From the route in the router's kernel to the first answered packet, packets lost "
                "meanwhile."});
}

// On a cluster: the router that its nodes' speakers peer with.
struct PeerSpec {
  std::string netns = {};  // where its kernel is; there we start a gobgpd, unless `api` names one
  std::optional<base::IpAddress> address = {};  // at which nodes find it
  std::string api = {};                         // of a gobgpd that runs
};

template <typename Visit, base::SelfOf<PeerSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("netns", self.netns,
        {.doc = "The network namespace of the router, a name or a path: learnt routes go into its "
                "kernel, and a gobgpd is started there unless `api` names one. Of a cluster that "
                "`stackbench up` made: router, unless said."});
  visit("address", self.address,
        {.doc = "The address at which the cluster's nodes find it. Of a cluster that `stackbench "
                "up` made it is known."});
  visit("api", self.api,
        {.doc = "HOST:PORT of the API of a gobgpd that runs already. Without `netns` its word is "
                "all that is known of routes."});
}

struct Spec {
  std::string service = {};
  cluster::DatapathKind datapath = cluster::DatapathKind::iptables;
  std::uint32_t node_asn = 64512;
  std::uint32_t router_asn = 64513;
  std::vector<bgp_peer::Community> communities = {};
  std::uint32_t hold_time_s = 9;
  std::optional<std::uint32_t> restart_time_s = {};
  std::string password = {};       // empty: none
  std::uint32_t max_prefixes = 0;  // 0: no limit
  Write write = Write::service;
  std::vector<bgp_peer::NextHopKind> next_hops = {};  // resolved: one at least
  std::optional<Scale> scale = {};
  std::optional<int> flows = {};
  int rounds = 12;
  Budget budget = {};
  std::vector<FaultSpec> faults = {};
  int repetitions = 3;
  Fault fault = Fault::none;
  // On a cluster; a lab has these of its own.
  bgp_peer::Prefix pool = bgp_peer::Prefix::parse("172.21.0.0/24").value();
  PeerSpec peer = {};
  std::string client = {};
};

template <typename Visit, base::SelfOf<Spec> Self>
void describe(Visit& visit, Self& self) {
  visit(
      "service", self.service,
      {.doc = "The Service, of type LoadBalancer, whose address is announced.", .required = true});
  visit("datapath", self.datapath,
        {.doc = "How a lab's nodes implement it; a cluster's do as they do."});
  visit("node_asn", self.node_asn, {.doc = "The nodes' autonomous system.", .at_least = 1});
  visit("router_asn", self.router_asn, {.doc = "The router's.", .at_least = 1});
  visit("communities", self.communities, {.doc = "That nodes announce with (RFC 1997)."});
  visit("hold_time_s", self.hold_time_s,
        {.doc = "Of both sides, in seconds: 0 or 3 and more (RFC 4271).", .at_most = 65535});
  visit("restart_time_s", self.restart_time_s,
        {.doc = "Graceful restart (RFC 4724), in seconds. Absent: without.",
         .at_least = 1,
         .at_most = 4095});
  visit("password", self.password,
        {.doc = "TCP MD5 signatures (RFC 2385) of every session are made with it; empty: none."});
  visit("max_prefixes", self.max_prefixes,
        {.doc = "How many the router takes of a node and a family before it ends the session; 0: "
                "any number.",
         .at_most = 1000});
  visit(
      "write", self.write,
      {.doc = "What makes the address appear and go: the service, or the readiness of its pods."});
  visit(
      "next_hops", self.next_hops,
      {.doc = "How the router's kernel spreads flows over the nodes: by one multipath route, or "
              "by a resilient nexthop group. One, hash_threshold by default; of flows all that are "
              "asked of, one after the other."});
  visit("scale", self.scale,
        {.doc = "Asks of many Services at once, instead of one address's traffic."});
  visit("flows", self.flows,
        {.doc = "Asks how so many flows are spread over the nodes, and how many of them move when "
                "one leaves, instead of one address's times.",
         .at_least = fewest_flows,
         .at_most = most_flows});
  visit("rounds", self.rounds,
        {.doc = "How often it is announced and withdrawn; of flows: how often each node leaves.",
         .at_least = 1,
         .at_most = 1000});
  visit("budget", self.budget, {.doc = "What is granted of rounds."});
  visit(
      "faults", self.faults,
      {.doc = "What is done to sessions, speakers and links, in this order, in place of rounds."});
  visit("repetitions", self.repetitions,
        {.doc = "How often each of them is done.", .at_least = 1, .at_most = 100});
  visit("fault", self.fault, {.doc = "What is broken on purpose, to see that a check finds it."});
  visit("pool", self.pool,
        {.doc = "On a cluster: the prefix that the address is of, which no other pool may hold."});
  visit("peer", self.peer, {.doc = "On a cluster: where the router is."});
  visit("client", self.client,
        {.doc = "On a cluster: the network namespace that probes are sent from, a name or a path. "
                "Absent: external of a cluster that `stackbench up` made, else this machine's."});
}

}  // namespace stackbench::bgp

template <>
struct base::EnumNames<stackbench::bgp::Write> {
  using Write = stackbench::bgp::Write;
  static constexpr std::array names{std::pair{Write::service, std::string_view("service")},
                                    std::pair{Write::readiness, std::string_view("readiness")}};
};

template <>
struct base::EnumNames<stackbench::bgp::Fault> {
  using Fault = stackbench::bgp::Fault;
  static constexpr std::array names{
      std::pair{Fault::none, std::string_view("none")},
      std::pair{Fault::withdrawal_suppressed, std::string_view("withdrawal_suppressed")},
      std::pair{Fault::withdrawal_delayed, std::string_view("withdrawal_delayed")},
      std::pair{Fault::announced_without_endpoint, std::string_view("announced_without_endpoint")},
      std::pair{Fault::wrong_community, std::string_view("wrong_community")},
      std::pair{Fault::announced_early, std::string_view("announced_early")},
      std::pair{Fault::peer_slowed, std::string_view("peer_slowed")},
      std::pair{Fault::next_hops_unequal, std::string_view("next_hops_unequal")},
      std::pair{Fault::next_hop_missing, std::string_view("next_hop_missing")},
      std::pair{Fault::ports_not_hashed, std::string_view("ports_not_hashed")},
      std::pair{Fault::next_hops_rebuilt, std::string_view("next_hops_rebuilt")},
      std::pair{Fault::route_kept, std::string_view("route_kept")},
      std::pair{Fault::never_restarted, std::string_view("never_restarted")},
      std::pair{Fault::restart_forgets_routes, std::string_view("restart_forgets_routes")}};
};
