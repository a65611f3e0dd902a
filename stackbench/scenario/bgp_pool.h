// The pools LoadBalancer addresses come from in a lab.
#pragma once

#include <vector>

#include "base/address.h"
#include "bgp-peer/route.h"
#include "cluster/topology.h"

namespace stackbench::bgp {

// All of the lab's (cluster/lab/addresses.h).
[[nodiscard]] bgp_peer::Prefix lab_pool(base::AddressFamily family);

// How many addresses a part of it has to give beside those of the topology's own Services. The
// first and the last of a pool are given to nobody, as they look like a network's and a broadcast.
[[nodiscard]] int addresses_in(const bgp_peer::Prefix& pool, const cluster::TopologySpec& topology);

// The first `count` of them, ascending; fewer where there are fewer.
[[nodiscard]] std::vector<base::IpAddress> take_addresses(const bgp_peer::Prefix& pool,
                                                          const cluster::TopologySpec& topology,
                                                          int count);

}  // namespace stackbench::bgp
