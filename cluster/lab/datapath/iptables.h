// The `iptables` datapath: kube-proxy's iptables mode, chain for chain (pkg/proxy/iptables/
// proxier.go, syncProxyRules). KUBE-SERVICES walks one rule per Service port to KUBE-SVC-*, which
// picks a KUBE-SEP-* by `statistic --mode random`, which translates (DNAT). 0x4000 marks what
// KUBE-POSTROUTING masquerades. A Service without endpoints is refused in the filter table; a
// client in a lab notices after one second: over veth the ICMP error arrives inside connect(2),
// where the kernel only notes it (tcp_v4_err, sk_err_soft), and the SYN sent again meets it anew.
//
// Where it differs: kube-proxy shares its tables with others and restores with --noflush; a lab's
// node has no others, so a sync replaces both tables whole, one transaction each. kube-proxy walks
// a Go map, so a Service's place in KUBE-SERVICES, and with it how many rules its first packet
// passes, is random per node and sync. Here Services stand by name, so that a run can be repeated:
// among many, one that is named early is found sooner than the average (facts(): service_order).
// NodePorts do not answer at 127.0.0.1, for which kube-proxy sets route_localnet.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "cluster/lab/datapath/datapath.h"

namespace cluster {

// Runs iptables-restore and ip6tables-restore as the machine provides them (nft-backed or legacy:
// facts() says which). Errors: as Datapath::sync().
[[nodiscard]] base::Result<std::unique_ptr<Datapath>> make_iptables_datapath(
    const std::vector<DatapathNode>& nodes);

// The input of iptables-restore (or ip6tables-restore) on this node: both tables, whole. Entries of
// the other family are passed over.
[[nodiscard]] std::string iptables_rules(const ServiceTable& table, base::AddressFamily family,
                                         const DatapathNode& node);

}  // namespace cluster
