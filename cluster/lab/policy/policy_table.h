// What the policy programs (policy.bpf.c) and their user side share: the tables a generation of
// policies is compiled to, the connections that were judged, and what was denied.
//
// A generation is one array, filled before it is in force and never written again. Entries are all
// of one shape; the first ones say where the sections are:
//
//   policy_pods     by pod number: the rule sets of both directions, and the classes of both of the
//                   pod's addresses
//   policy_addresses  by pod number: the addresses it has, which no packet of its may lack
//   policy_spans_*  the addresses of one family cut into spans, ascending, the first from 0 on;
//   each
//                   has a class: which pod's labels are there, and which ipBlocks hold it. So an
//                   ipBlock costs a packet nothing; a search by halves finds the class
//   policy_pairs    a hash table: (rule set, class) -> the ports that are allowed
//   ranges          ascending, none overlaps another: (protocol << 16 | port), from first to last
//
// Nothing here grows with policies by more than the logarithm of what they name.
//
// Addresses in packets are in IPv6 form, ports in network order, as in connection_table.h.
#pragma once

#include "cluster/lab/datapath/connection_table.h"

struct PolicyEntry {
  // Of a pod: rule sets (ingress << 32 | egress), 0 where it is not isolated; of a span its first
  // address, of a range (low) its first key; of a pair rule set << 32 | class, 0 where the bucket
  // is empty; of a section's header the largest power of two that is not above its count. Of a
  // pod's addresses (low) IPv6.
  __u64 high;
  // Of a pod: classes (IPv4 << 32 | IPv6).
  __u64 low;
  // Of a pod's addresses IPv4; of a span its class; of a range its last key; of a pair where its
  // ranges begin; of a header where its section begins.
  __u32 first;
  // Of a pair or a header how many there are.
  __u32 second;
};

// Entry 0 has the generation in `high`.
enum PolicyHeader {
  policy_generation,
  policy_pods,
  policy_addresses,
  policy_spans_ipv4,
  policy_spans_ipv6,
  policy_pairs,
  policy_headers,
};

// The class that stands for everybody.
#define POLICY_EVERYBODY 0
#define POLICY_PROBES_AT_MOST 8
#define POLICY_HALVINGS_AT_MOST 24
// A generation's table is at generation % 4: whoever still runs on an older one has it to itself,
// because each publication waits for those who began before it.
#define POLICY_TABLES 4

static inline __u32 policy_hash(__u64 pair) {
  // The SplitMix64 finaliser; the same function fills and reads the table.
  pair = (pair ^ (pair >> 30)) * 0xbf58476d1ce4e5b9ULL;
  pair = (pair ^ (pair >> 27)) * 0x94d049bb133111ebULL;
  return (__u32)(pair >> 32);
}

// One, shared by all nodes of an environment: what is in force for all of them changes with one
// store.
struct PolicySwitch {
  __u32 generation;
  __u32 reserved;
  __u64 denials;  // how many there were
};

// What a packet's mark says inside a node, from where it came in to where it goes out. The upper
// half is a number; kube-proxy's bits (0x4000 and 0x8000) lie between and are not ours.
enum PolicyMark {
  policy_mark_kind = 7,
  policy_mark_pod = 1,      // from the pod of this number, on this node
  policy_mark_outside = 2,  // from beyond the uplink, by the source it shows
  policy_mark_hidden = 3,   // the same, and its source, which may be rewritten, is noted there
  policy_mark_passed = 4,   // it belongs to a connection that is allowed
  policy_mark_foreign = 5,  // from the pod of this number, from an address that is not the pod's
  policy_mark_first_fragment = 8,
  policy_mark_shift = 16,
};

enum PolicyVerdict { policy_allows, policy_denies_egress, policy_denies_ingress };

// Of a connection: the key is the packet of whoever began it, translated, with the node's number in
// reserved[0].
struct PolicyConnection {
  __u64 used_ns;     // CLOCK_MONOTONIC_COARSE of its last packet that passed
  __u64 judged;      // generation << 2 | PolicyVerdict
  __u32 source_pod;  // on this node; 0: elsewhere, where its egress was judged
  __u32 target_pod;
  __u8 origin[16];  // who began it, whatever source the packets show
};

// Where an address from outside is noted while its packet crosses the node.
struct PolicyOrigin {
  __u8 address[16];
  __u64 used_ns;
};
#define POLICY_ORIGINS 4096
#define POLICY_ORIGIN_PROBES 8
#define POLICY_ORIGIN_KEPT_NS 1000000000ULL

enum PolicyReason {
  policy_no_rule_allows = 1,  // the pod is isolated, and no rule allows it
  policy_revoked,             // its connection was allowed and is no more
  policy_unknown_connection,  // in mid-stream, of a connection nobody saw begin
  policy_unknown_fragment,    // a fragment whose first one did not pass before it
  policy_foreign_source,      // from a pod, and from an address that is not the pod's
  policy_unreadable,          // no IP packet, or no whole header of one
};

struct PolicyDenial {
  __u64 sequence;  // from 1; 0 while it is written
  __u64 time_ns;   // CLOCK_MONOTONIC
  struct ConnectionTuple packet;
  __u32 generation;
  __u32 pod;  // whose isolation it was
  __u8 egress;
  __u8 reason;
  __u8 node;
  __u8 reserved[5];
};

// Exact: each CPU has its own.
struct PolicyCounters {
  __u64 judged;     // connections, datagram flows and others judged anew
  __u64 rejudged;   // connections judged again after a change
  __u64 denied;     // packets
  __u64 unknown;    // packets in mid-stream of connections nobody saw begin
  __u64 fragments;  // denied for want of their first one
  __u64 crowded;    // sources that could not be noted
};
