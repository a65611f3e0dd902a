// `bgp:` of a scenario: how a LoadBalancer's address is announced, reached and withdrawn. Such a
// scenario has neither arms nor workloads.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/describe.h"
#include "base/scalar.h"
#include "bgp-peer/route.h"
#include "cluster/topology.h"

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
};

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

struct Spec {
  std::string service;
  cluster::DatapathKind datapath = cluster::DatapathKind::iptables;
  std::uint32_t node_asn = 64512;
  std::uint32_t router_asn = 64513;
  std::vector<bgp_peer::Community> communities = {};
  std::uint32_t hold_time_s = 9;
  std::optional<std::uint32_t> restart_time_s = {};
  Write write = Write::service;
  int rounds = 12;
  Budget budget = {};
  Fault fault = Fault::none;
};

template <typename Visit, base::SelfOf<Spec> Self>
void describe(Visit& visit, Self& self) {
  visit(
      "service", self.service,
      {.doc = "The Service, of type LoadBalancer, whose address is announced.", .required = true});
  visit("datapath", self.datapath, {.doc = "How the nodes implement it."});
  visit("node_asn", self.node_asn, {.doc = "The nodes' autonomous system.", .at_least = 1});
  visit("router_asn", self.router_asn, {.doc = "The router's.", .at_least = 1});
  visit("communities", self.communities, {.doc = "That nodes announce with (RFC 1997)."});
  visit("hold_time_s", self.hold_time_s,
        {.doc = "Of both sides, in seconds: 0 or 3 and more (RFC 4271).", .at_most = 65535});
  visit("restart_time_s", self.restart_time_s,
        {.doc = "Graceful restart (RFC 4724), in seconds. Absent: without.",
         .at_least = 1,
         .at_most = 4095});
  visit(
      "write", self.write,
      {.doc = "What makes the address appear and go: the service, or the readiness of its pods."});
  visit("rounds", self.rounds,
        {.doc = "How often it is announced and withdrawn.", .at_least = 1, .at_most = 1000});
  visit("budget", self.budget, {.doc = "What is granted."});
  visit("fault", self.fault, {.doc = "What is broken on purpose, to see that a check finds it."});
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
      std::pair{Fault::announced_early, std::string_view("announced_early")}};
};
