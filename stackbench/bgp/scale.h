// Announces and withdraws many LoadBalancer Services' addresses at once, again and again: what
// `bgp.scale` in a scenario asks for.
#pragma once

#include <string>

#include "base/interrupt.h"
#include "base/result.h"
#include "stackbench/bgp/measure.h"
#include "stackbench/scenario/bgp.h"

namespace stackbench::bgp {

// The sizes of the planted fault `peer_slowed`: of every period the daemon is stopped so long.
inline constexpr auto slow_period = std::chrono::milliseconds(250);
inline constexpr auto slow_stop = std::chrono::milliseconds(200);

struct ScaleRounds {
  std::string service;  // a LoadBalancer of the environment; the many are like it
  base::AddressFamily family = base::AddressFamily::ipv4;
  Scale scale = {};
  int rounds = 3;
  Fault fault = Fault::none;  // none, or peer_slowed
  // Whether the largest number is announced and withdrawn once more, as often, towards a sink that
  // only reads, in the place of the router's daemon: what the speakers are by themselves. The site
  // has no router afterwards.
  bool reference = false;
};

// Services of one family and without node ports, of which a node has too few. They are made
// first, all with one write (a ServiceList); an address each is given to them with one more, as a
// load balancer's controller writes it into their status, and taken again with the next: those
// writes are what is measured. Errors: interrupted, before the first round was whole; input, where
// the Service is no LoadBalancer or the pool is too small; system.
base::Result<Outcome> measure_scale(Site& site, const ScaleRounds& rounds,
                                    const base::Interrupt& interrupt);

}  // namespace stackbench::bgp
