// The check `source_ip_preserved`: do the pods see the client's own address? Judged from what the
// servers saw of their connections, not from rules. Kubernetes promises it for ClusterIPs dialled
// by pods and under externalTrafficPolicy Local; under Cluster a datapath may hide the client
// behind a node.
#pragma once

#include <vector>

#include "base/address.h"
#include "bench/workload.h"
#include "checks/finding.h"

namespace checks {

// Judges one arm under one workload: `client` is the address its client has, `servers` what every
// pod that may have answered saw over exactly that client's traffic. Where `promised`, pass only if
// every connection seen came from `client`, fail otherwise; where not, either is a pass that says
// which. Inconclusive where no connection was seen. `observed` is "kept" or "hidden".
[[nodiscard]] Finding source_ip_preserved(bool promised, const base::IpAddress& client,
                                          const std::vector<bench::ServerResult>& servers);

}  // namespace checks
