// Spreads flows over the nodes that announce an address, and follows them when one leaves: what
// `bgp.flows` in a scenario asks for.
#pragma once

#include <string>

#include "base/interrupt.h"
#include "base/result.h"
#include "stackbench/bgp/measure.h"
#include "stackbench/scenario/bgp.h"

namespace stackbench::bgp {

struct FlowRounds {
  std::string service;  // a LoadBalancer of externalTrafficPolicy Cluster
  base::AddressFamily family = base::AddressFamily::ipv4;
  bgp_peer::NextHopKind next_hops = bgp_peer::NextHopKind::hash_threshold;  // as the Site was told
  std::size_t flows = 3000;
  int rounds = 3;          // how often each node leaves
  std::uint64_t seed = 1;  // of the flows' ports
  Fault fault = Fault::none;
};

// In every trial all nodes announce the address anew, so that its next hops are as fresh ones are;
// flows are sent, one node is taken out, and the same flows are sent again. Errors: interrupted,
// before the first trial was whole; timed_out, where the router's route does not come; input,
// where the Service is no LoadBalancer; system.
base::Result<Outcome> measure_flows(Site& site, const FlowRounds& rounds,
                                    const base::Interrupt& interrupt);

}  // namespace stackbench::bgp
