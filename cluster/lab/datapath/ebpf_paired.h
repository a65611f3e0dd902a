// ebpf_socket as a node has it: pods' sockets translated by their hooks, and what clients outside
// send by ebpf_tc's programs at the nodes' uplinks, as Cilium pairs the two.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "cluster/lab/datapath/datapath.h"
#include "cluster/lab/datapath/ebpf_tc.h"

namespace cluster {

// Errors, of sync() too: as those of both. facts() are ebpf_socket's, with the hooks and the
// connection table of the other, times and memory added up.
[[nodiscard]] base::Result<std::unique_ptr<Datapath>> make_ebpf_paired_datapath(
    const std::vector<DatapathNode>& nodes, const EbpfTcSettings& settings = {});

}  // namespace cluster
