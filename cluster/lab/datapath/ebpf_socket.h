// The `ebpf_socket` datapath: ClusterIP Services translated in connect(2) and sendmsg(2) by cgroup
// hooks, as Cilium's socket-level load balancing does (cilium, bpf/bpf_sock.c). TCP and UDP, both
// families. The application sees the Service in getpeername(2) and as the source in recvmsg(2).
//
// The part above __cplusplus is the layout of its own maps: fixed width, no holes, sizes asserted
// in ebpf_socket.cc. That of the Services is service_map.h's.
#pragma once

#include "cluster/lab/datapath/service_map.h"

// How many sockets that dialled a Service are remembered. The oldest are forgotten first, and then
// show their backend's address; their traffic is not touched.
#define SOCKETS_REMEMBERED 8192

struct SocketPeer {
  __u64 cookie;  // the socket's, unique on this machine until it reboots
  struct ServiceEndpoint peer;
};

struct SocketFlow {
  struct ServiceEndpoint backend;
  __u32 generation;  // of the tables in which the backend was last known to be the Service's
  __u32 reserved;    // zero
};

#ifdef __cplusplus

#include <memory>
#include <vector>

#include "base/result.h"
#include "cluster/lab/datapath/datapath.h"

namespace cluster {

// Loads the hooks and attaches them to every node's cgroup, with an empty table: nothing is
// translated until sync(). A sync publishes a whole new table at once, in which no Service is
// missing for a moment; a Service without backends refuses (ECONNREFUSED), as kube-proxy's REJECT
// does. Connections that exist keep their backend and the Service address they show. Hooks end with
// the descriptors of the Datapath: kill -9 leaves nothing.
//
// facts() counts entries and gives each hook's run-time statistics ("hooks": {"connect4":
// {"run_count": ..., "run_time_ns": ...}}), which the kernel keeps while somebody holds
// base::enable_program_statistics().
//
// Errors: input (a node without a cgroup), missing (the kernel refuses a program, or the directory
// is not in a cgroup2 hierarchy), not_permitted, system. sync() also: input (two entries for one
// address, port and protocol; a backend of the other address family).
[[nodiscard]] base::Result<std::unique_ptr<Datapath>> make_ebpf_socket_datapath(
    const std::vector<DatapathNode>& nodes);

}  // namespace cluster

#endif  // __cplusplus
