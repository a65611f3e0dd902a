// The `nftables` datapath: kube-proxy's nftables mode (pkg/proxy/nftables/proxier.go, the shape of
// Kubernetes 1.34, and of the patch releases of 1.33 after September 2025: kubernetes PR 132456 and
// its cherry-pick 133969). One table `kube-proxy` per family; the verdict map @service-ips finds
// a Service port in one lookup and goes to service-*, which picks an endpoint-* by
// `numgen random mod N vmap`, which translates (dnat). @no-endpoint-services refuses what has no
// endpoints (noticed after a second, as datapath/iptables.h explains), @cluster-ips the ports a
// Service does not offer. What remains of the Services' range belongs to nobody and is dropped, so
// a client of a removed Service waits for its timeout, where iptables lets it meet a router's
// error. 0x4000 marks what is masqueraded.
//
// Where it differs: kube-proxy edits its table element by element; a sync here deletes and loads
// it in one transaction, which the kernel applies at one instant as well. The chain for
// load-balancer firewalls exists where a packet passes it, and is empty.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "cluster/lab/datapath/datapath.h"

namespace cluster {

// Errors: as Datapath::sync().
[[nodiscard]] base::Result<std::unique_ptr<Datapath>> make_nftables_datapath(
    const std::vector<DatapathNode>& nodes);

// The input of `nft -f -` for one family on this node: deletes the table and makes it anew. Entries
// of the other family are passed over.
[[nodiscard]] std::string nftables_rules(const ServiceTable& table, base::AddressFamily family,
                                         const DatapathNode& node);

}  // namespace cluster
