// Where a run on a cluster has its router and its client: network namespaces of this machine, or a
// gobgpd that is reached by its API.
#pragma once

#include <optional>
#include <string>

#include <sys/types.h>

#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"
#include "stackbench/scenario/bgp.h"

namespace stackbench::bgp {

// A cluster that `stackbench up` made has a router and a client of its own.
struct OwnCluster {
  std::string name;
  pid_t root = 0;  // the process whose namespaces hold all of its others
};

// An opened place: it lives as long as this.
struct RouterPlace {
  base::UniqueFd router = {};    // its network namespace; none where it is out of reach
  std::string interface = {};    // of the router, that has `address`; empty where out of reach
  base::IpAddress address = {};  // at which nodes find it
  std::string api = {};          // of a gobgpd that runs there; empty: we start one
  base::UniqueFd client = {};    // the network namespace that probes are sent from
  std::string client_name = {};  // as a person would name it
};

// Errors: input, naming what of bgp.peer or bgp.client is missing or unknown; not_permitted;
// system.
[[nodiscard]] base::Result<RouterPlace> open_router_place(const Spec& spec,
                                                          const std::optional<OwnCluster>& own);

}  // namespace stackbench::bgp
