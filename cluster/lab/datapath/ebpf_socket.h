// The `ebpf_socket` datapath: ClusterIP Services translated in connect(2) and sendmsg(2) by cgroup
// hooks, as Cilium's socket-level load balancing does (cilium, bpf/bpf_sock.c). TCP and UDP, both
// families. The application sees the Service in getpeername(2) and as the source in recvmsg(2).
//
// The part above __cplusplus is the layout of the maps: fixed width, no holes, sizes asserted in
// ebpf_socket.cc. Addresses are in IPv6 form, IPv4 ones mapped (RFC 4291, 2.5.5.2); ports are in
// network order, as the hooks see them.
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#endif

// How many sockets that dialled a Service are remembered. The oldest are forgotten first, and then
// show their backend's address; their traffic is not touched.
#define SOCKETS_REMEMBERED 8192

// A Service or a backend.
struct SocketEndpoint {
  __u8 address[16];
  __u16 port;
  __u8 protocol;        // IPPROTO_TCP or IPPROTO_UDP
  __u8 reserved_byte;   // zero
  __u32 reserved_word;  // zero
} __attribute__((aligned(8)));

// A table is one array. Entry 0 says in `count` how many buckets follow, a power of two; a Service
// is in the first free bucket from its hash on, at most SOCKET_PROBES_AT_MOST further; its backends
// are entries after the buckets, from `first` on. An empty bucket has `first` 0.
struct SocketTableEntry {
  struct SocketEndpoint endpoint;
  // Of a bucket: where its backends begin, and how many there are; of a Service without backends 0:
  // connects are refused. Of a backend: under sessionAffinity ClientIP the Service's number, the
  // same in every table, and for how many seconds a client stays; 0 and 0 without.
  __u32 first;
  __u32 count;
};

#define SOCKET_PROBES_AT_MOST 8

// Odd constants of the SplitMix64 finaliser; the same function fills and reads the table.
static inline __u32 socket_hash(const struct SocketEndpoint* endpoint) {
  const __u64* words = (const __u64*)endpoint;
  __u64 hash = words[0] * 0xbf58476d1ce4e5b9ULL ^ words[1];
  hash = (hash ^ (hash >> 29)) * 0x94d049bb133111ebULL ^ words[2];
  hash = (hash ^ (hash >> 32)) * 0xbf58476d1ce4e5b9ULL;
  return (__u32)(hash >> 32);
}

struct SocketPeer {
  __u64 cookie;  // the socket's, unique on this machine until it reboots
  struct SocketEndpoint peer;
};

struct SocketFlow {
  struct SocketEndpoint backend;
  __u32 generation;  // of the tables in which the backend was last known to be the Service's
  __u32 reserved;    // zero
};

// How many clients' stays under sessionAffinity ClientIP are remembered, the latest.
#define STAYS_REMEMBERED 16384

// A client is a network namespace, as a pod's address is one's (cilium, bpf/bpf_sock.c: there, too,
// the cookie of the namespace stands for the client).
struct SocketClient {
  __u64 netns_cookie;
  __u32 service;   // the number in its backends' entries
  __u32 reserved;  // zero
};

struct SocketStay {
  struct SocketEndpoint backend;
  __u64 used_ns;  // CLOCK_MONOTONIC of the last connection
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
