// The Services of a node as a table in a BPF map: what the eBPF datapaths look a destination up in.
// A table is filled by a sync, published whole and never written again; programs find it through an
// array of maps (service_map.bpf.h).
//
// The part above __cplusplus is the layout: fixed width, no holes, sizes asserted in
// service_map.cc. Addresses are in IPv6 form, IPv4 ones mapped (RFC 4291, 2.5.5.2); ports are in
// network order, as the hooks see them.
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#endif

// A Service or a backend.
struct ServiceEndpoint {
  __u8 address[16];
  __u16 port;
  __u8 protocol;        // IPPROTO_TCP or IPPROTO_UDP
  __u8 reserved_byte;   // zero
  __u32 reserved_word;  // zero
} __attribute__((aligned(8)));

// A table is one array. Entry 0 says in `count` how many buckets follow, a power of two; a Service
// is in the first free bucket from its hash on, at most SERVICE_PROBES_AT_MOST further; its
// backends are entries after the buckets, from `first` on. An empty bucket has `first` 0.
struct ServiceMapEntry {
  struct ServiceEndpoint endpoint;
  // Of a bucket: where its backends begin, and how many there are; of a Service without backends 0:
  // connects are refused; SERVICE_DROPS: there are some, but not for these clients. Of a backend:
  // under sessionAffinity ClientIP the Service's number, the same in every table, and for how many
  // seconds a client stays; 0 and 0 without. BACKEND_IS_HERE is added where the backend runs on the
  // node that the table is for.
  __u32 first;
  __u32 count;
};

// The tables a datapath keeps: of what pods dial, and of what clients outside dial.
enum ServiceTables { services_inside, services_outside, service_tables };

#define SERVICE_PROBES_AT_MOST 8
#define SERVICE_DROPS 0xffffffffU
#define BACKEND_IS_HERE 0x80000000U

// Odd constants of the SplitMix64 finaliser; the same function fills and reads the table.
static inline __u32 service_hash(const struct ServiceEndpoint* endpoint) {
  const __u64* words = (const __u64*)endpoint;
  __u64 hash = words[0] * 0xbf58476d1ce4e5b9ULL ^ words[1];
  hash = (hash ^ (hash >> 29)) * 0x94d049bb133111ebULL ^ words[2];
  hash = (hash ^ (hash >> 32)) * 0xbf58476d1ce4e5b9ULL;
  return (__u32)(hash >> 32);
}

// How many clients' stays under sessionAffinity ClientIP are remembered, the latest.
#define STAYS_REMEMBERED 16384

struct ServiceClient {
  __u64 client[2];  // what tells clients apart: an address, or the cookie of a network namespace
  __u32 service;    // the number in its backends' entries
  __u32 reserved;   // zero
};

struct ServiceStay {
  struct ServiceEndpoint backend;
  __u64 used_ns;  // CLOCK_MONOTONIC of the last connection
};

#ifdef __cplusplus

#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cluster/lab/datapath/datapath.h"

namespace cluster {

// The address in IPv6 form.
void write_address(const base::IpAddress& address, std::span<__u8, 16> out);
[[nodiscard]] ServiceEndpoint to_wire(const base::Endpoint& endpoint, Protocol protocol);

// What one table offers of one port of a Service.
struct OfferedPort {
  const ServiceEntry* entry = nullptr;
  std::vector<base::Endpoint> frontends;
  std::vector<Backend> backends;
  bool drops = false;          // SERVICE_DROPS
  std::string_view here = {};  // whose backends are marked BACKEND_IS_HERE
};

// What pods are offered: every backend at every frontend. externalTrafficPolicy is for clients
// outside.
[[nodiscard]] std::vector<OfferedPort> offered_inside(const ServiceTable& table,
                                                      const std::vector<DatapathNode>& nodes);
// What clients outside are offered at `node`: the load balancers' addresses and its own NodePorts;
// under externalTrafficPolicy Local its own backends, and nothing where it has none of several.
[[nodiscard]] std::vector<OfferedPort> offered_outside(const ServiceTable& table,
                                                       const DatapathNode& node);

// Errors: input (two entries for one address, port and protocol; a backend of the other address
// family), in the name of `datapath`.
[[nodiscard]] base::Result<> check_services(std::string_view datapath, const ServiceTable& table,
                                            const std::vector<DatapathNode>& nodes);

// Makes a table of these and puts it into `tables`, an array of maps, at `index`; returns its size
// in bytes once no program is left that runs on the one that was there before. Errors: system.
[[nodiscard]] base::Result<std::int64_t> publish_services(int tables, __u32 index,
                                                          const std::vector<OfferedPort>& ports);

}  // namespace cluster

#endif  // __cplusplus
