// The `ebpf_tc` datapath: Services translated packet by packet by programs on the interfaces of
// pods and nodes (tcx), with a connection table on every node. TCP and UDP, both families, from
// pods and from outside; ebpf_tc.bpf.c says how.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "cluster/lab/datapath/connection_table.h"
#include "cluster/lab/datapath/datapath.h"

namespace cluster {

struct EbpfTcSettings {
  ConnectionTableSettings table = {};
  // Clients outside are hidden behind the node's address, wherever the backend runs.
  bool hides_clients = false;
};

// Loads the programs for every node and attaches them to its uplink and to its pods' interfaces,
// with an empty table: nothing is translated until sync(). A sync publishes a whole new table of
// Services at once. A Service without backends refuses (ICMP port unreachable: ECONNREFUSED); one
// that has some, but none for clients outside who come to this node (externalTrafficPolicy Local),
// drops what they send. TCP connections keep their backend until they end, UDP flows choose anew
// when theirs leaves the Service. Under externalTrafficPolicy Cluster a client outside keeps its
// address where the backend chosen is on the node it came to, and is hidden behind that node where
// it is not. Everything ends with the descriptors of the Datapath: kill -9 leaves nothing.
//
// facts(): "hooks", each hook's run-time statistics over all nodes, as ebpf_socket's;
// "connection_table": its counts over all nodes (connection_table.h), "capacity" per node,
// "memory_bytes" of all.
//
// Errors: input (a node without interfaces), missing (the kernel refuses a program, or has no tcx),
// not_permitted, system. sync() also: input (two entries for one address, port and protocol; a
// backend of the other address family).
[[nodiscard]] base::Result<std::unique_ptr<Datapath>> make_ebpf_tc_datapath(
    const std::vector<DatapathNode>& nodes, const EbpfTcSettings& settings = {});

// The same at the nodes' uplinks alone, for clients outside.
[[nodiscard]] base::Result<std::unique_ptr<Datapath>> make_ebpf_tc_uplinks(
    const std::vector<DatapathNode>& nodes, const EbpfTcSettings& settings = {});

}  // namespace cluster
